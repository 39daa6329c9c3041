package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/test/llama"
)

// TestKill9_whileServing: the whole of nebula up is killed; the engine serves on under the same pid and is adopted.
func TestKill9_whileServing(t *testing.T) {
	n := up(t, "--llama-server", llama.Need(t))
	n.running("m", "Same process.", "--replicas", "2")
	before := n.pids("m")
	n.kill9()
	for _, pid := range before {
		if !alive(pid) {
			t.Fatalf("engine %d died with nebula up", pid)
		}
	}
	began := time.Now()
	n.start()
	n.until("m", 5*time.Second, api.StateRunning) // the promise: within 5 s of being ready
	t.Logf("running %s after the start", time.Since(began).Round(time.Millisecond))
	if after := n.pids("m"); len(after) != 2 || after[0] != before[0] || after[1] != before[1] {
		t.Errorf("pids %v, then %v: engines were restarted", before, after)
	}
	if got, err := n.ask("m"); err != nil || got != "Same process." {
		t.Errorf("after the restart: %q, %v", got, err)
	}
	n.must("model", "stop", "m", "--wait", "--timeout", "60s") // an adopted engine is fully ours
	for _, pid := range before {
		if alive(pid) {
			t.Errorf("adopted engine %d still runs after stop", pid)
		}
	}
}

// TestKill9_engineDiesWhileNobodyWatches: its end is noticed at the next start, and it is started anew.
func TestKill9_engineDiesWhileNobodyWatches(t *testing.T) {
	n := up(t, "--llama-server", llama.Need(t))
	n.running("m", "Back again.")
	pid := n.pids("m")[0]
	n.kill9()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n.start()
	eventually(t, 60*time.Second, func() error {
		if now := n.pids("m")[0]; now == 0 || now == pid {
			return fmt.Errorf("replica has pid %d", now)
		}
		return nil
	})
	if got, err := n.ask("m"); err != nil || got != "Back again." {
		t.Errorf("%q, %v", got, err)
	}
}

// TestEngineKilled_noRequestFails: kill -9 of one of two engines under load fails no plain request, and it comes back.
func TestEngineKilled_noRequestFails(t *testing.T) {
	n := up(t, "--llama-server", llama.Need(t))
	n.running("m", "Alive and well.", "--replicas", "2")
	var failed, ok atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got, err := n.ask("m"); err != nil || got != "Alive and well." {
					failed.Add(1)
					t.Errorf("request failed: %q, %v", got, err)
				} else {
					ok.Add(1)
				}
			}
		})
	}
	for round := range 3 {
		victim := n.pids("m")[uint32(round%2)]
		reached := ok.Load()
		if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		eventually(t, 90*time.Second, func() error {
			pids := n.pids("m")
			if len(pids) != 2 || pids[0] == victim || pids[1] == victim || ok.Load() < reached+20 {
				return fmt.Errorf("not recovered: ready %v, killed %d, %d requests since", pids, victim, ok.Load()-reached)
			}
			return nil
		})
	}
	close(stop)
	load.Wait()
	t.Logf("%d requests answered over 3 kills, %d failed", ok.Load(), failed.Load())
}

// TestBrokenModels_sayWhy: what cannot run fails with a reason that says what to do, and another model is not touched by it.
func TestBrokenModels_sayWhy(t *testing.T) {
	n := up(t, "--llama-server", llama.Need(t))
	n.running("good", "Untouched.")
	pid := n.pids("good")[0]
	notGGUF := n.dir + "/text.gguf"
	if err := os.WriteFile(notGGUF, []byte(strings.Repeat("just some text ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(n.demo("whole", "x y z"))
	if err != nil {
		t.Fatal(err)
	}
	cut := n.dir + "/cut.gguf"
	if err := os.WriteFile(cut, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	for uid, c := range map[string]struct {
		args []string
		code string
		says string
	}{
		"missing": {[]string{"--path", n.dir + "/none.gguf"}, "model_missing", "none.gguf"},
		"text":    {[]string{"--path", notGGUF}, "not_gguf", "GGUF"},
		"cut":     {[]string{"--path", cut}, "model_truncated", "cut.gguf"},
		"vllm":    {[]string{"--path", n.dir, "--engine", "vllm"}, "engine_not_installed", "install"},
		"sglang":  {[]string{"--path", n.dir, "--engine", "sglang"}, "engine_not_installed", "install"},
		"nowhere": {[]string{"--path", notGGUF, "--node", "no-such-node"}, "node_gone", "no-such-node"},
	} {
		n.must(append([]string{"model", "create", "--uid", uid, "--start"}, c.args...)...)
		d := n.until(uid, 60*time.Second, api.StateFailed)
		if d.Reason == nil || d.Reason.Code != c.code || !strings.Contains(d.Reason.Message, c.says) {
			t.Errorf("%s failed with %+v; want %s with %q", uid, d.Reason, c.code, c.says)
		}
		if _, errs, code := n.cli("model", "wait", uid, "--timeout", "30s"); code != 1 || !strings.Contains(errs, c.says) {
			t.Errorf("wait for %s: exit %d, %q; want 1 and the reason", uid, code, errs)
		}
	}
	if n.pids("good")[0] != pid {
		t.Error("another model's engine was restarted")
	}
	// Mended by the user and started again by hand.
	if err := os.WriteFile(cut, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	n.must("model", "start", "cut", "--wait", "--timeout", "60s")
	if got, err := n.ask("cut"); err != nil || got != "x y z" {
		t.Errorf("mended model: %q, %v", got, err)
	}
}
