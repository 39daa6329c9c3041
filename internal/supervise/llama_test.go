package supervise

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/demomodel"
	"github.com/nebula-serve/nebula/internal/engine"
	"github.com/nebula-serve/nebula/test/llama"
)

func demo(t *testing.T, reply string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "demo.gguf")
	if err := demomodel.WriteFile(path, demomodel.Options{Reply: reply}); err != nil {
		t.Fatal(err)
	}
	return path
}

func plan(t *testing.T, change func(*engine.Input)) engine.Launch {
	t.Helper()
	in := engine.Input{
		ServedName: "model", Path: "/nowhere/model.gguf", Binary: llama.Need(t), Cores: 1,
		TrainedContext: 512, BaseEnv: os.Environ(), Identity: identity(0),
	}
	change(&in)
	l, err := engine.Plan(api.EngineLlamaCPP, in)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func chat(t *testing.T, port int) string {
	t.Helper()
	res, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/v1/chat/completions", port), "application/json",
		strings.NewReader(`{"messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b := make([]byte, 4096)
	n, _ := res.Body.Read(b)
	return string(b[:n])
}

func ready(t *testing.T, p *Process) {
	t.Helper()
	eventually(t, "ready", func() bool {
		select {
		case <-p.Done():
			t.Fatalf("it ended: %s", strings.Join(p.Tail(20), "\n"))
		default:
		}
		return p.Probe(t.Context(), nil, p.Launch().Ready) == engine.AnswerOK
	})
}

// The planned command line, run by the real program: it serves, outlives its agent under the same pid and port, and ends
// by TERM with a status that its rules know.
func TestLlamaServer_livesThroughItsAgent(t *testing.T) {
	l := plan(t, func(in *engine.Input) { in.Path = demo(t, "the engine is real") })
	dir := t.TempDir()
	agent, pids := startAgent(t, dir, l)
	killAgent(agent)
	p := adoptOne(t, dir)
	ready(t, p)
	if p.PID() != pids[0] || !strings.Contains(chat(t, p.Port()), "the engine is real") {
		t.Errorf("pid %d, was %d; it says %q", p.PID(), pids[0], chat(t, p.Port()))
	}
	if err := send(p.now().Shim, unix.SIGKILL); err != nil { // its output pipe breaks, and it goes on
		t.Fatal(err)
	}
	for range 3 {
		if got := chat(t, p.Port()); !strings.Contains(got, "the engine is real") {
			t.Errorf("without its shim it says %q", got)
		}
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestLlamaServer_stopsByItsRules(t *testing.T) {
	for name, change := range map[string]func(*engine.Input){
		"chat":      func(*engine.Input) {},
		"embedding": func(in *engine.Input) { in.Embedding = true },
		"extra":     func(in *engine.Input) { in.ExtraArgs = []string{"-ctk", "q8_0", "--no-warmup", "--cache-ram", "0"} },
	} {
		t.Run(name, func(t *testing.T) {
			l := plan(t, func(in *engine.Input) { in.Path = demo(t, "hello"); change(in) })
			p := start(t, newDriver(t, t.TempDir()), 0, l)
			ready(t, p)
			if err := p.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			if e := p.Exit(); e.Unknown || e.Status() != 0 && e.Status() != 1 {
				t.Errorf("exit %+v", e)
			}
		})
	}
}

// An open stream keeps llama-server from ending at the first TERM; the second one does it.
func TestLlamaServer_stopsWithAnOpenStream(t *testing.T) {
	length := uint32(4096)
	l := plan(t, func(in *engine.Input) {
		in.Path, in.Config.MaxModelLen = demo(t, strings.TrimSpace(strings.Repeat("word after word ", 1000))), &length
	})
	l.Stop[1].After = 200 * time.Millisecond
	p := start(t, newDriver(t, t.TempDir()), 0, l)
	ready(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/v1/chat/completions", p.Port()),
		strings.NewReader(`{"stream":true,"messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := p.Exit(); e.Signal == int(unix.SIGKILL) {
		t.Errorf("it had to be killed: %+v", e)
	}
}

// What the real program says of its failures is understood.
func TestLlamaServer_failures(t *testing.T) {
	d := newDriver(t, t.TempDir())
	write := func(t *testing.T, b []byte) string {
		path := filepath.Join(t.TempDir(), "model.gguf")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cases := map[string]struct {
		change func(*testing.T, *engine.Input)
		code   api.FailureCode
	}{
		"missing":   {func(*testing.T, *engine.Input) {}, api.FailModelMissing},
		"not gguf":  {func(t *testing.T, in *engine.Input) { in.Path = write(t, []byte("<html>")) }, api.FailNotGGUF},
		"empty":     {func(t *testing.T, in *engine.Input) { in.Path = write(t, nil) }, api.FailNotGGUF},
		"bad value": {func(t *testing.T, in *engine.Input) { in.Path, in.ExtraArgs = demo(t, "x"), []string{"-ctk", "q7_7"} }, api.FailBadFlag},
		"lora": {func(t *testing.T, in *engine.Input) {
			in.Path, in.Config.LoRAModules = demo(t, "x"), []string{"/nowhere/adapter.gguf"}
		}, api.FailLoRA},
		"truncated": {func(t *testing.T, in *engine.Input) {
			b, err := os.ReadFile(demo(t, "one two three"))
			if err != nil {
				t.Fatal(err)
			}
			in.Path = write(t, b[:len(b)*2/3])
		}, api.FailModelTruncated},
	}
	i := uint32(0)
	for name, c := range cases {
		i++
		t.Run(name, func(t *testing.T) {
			p := start(t, d, i, plan(t, func(in *engine.Input) { c.change(t, in) }))
			exit := waitDone(t, p)
			f := engine.Diagnose(api.EngineLlamaCPP, p.Tail(200), exit)
			if f.Code != c.code || !f.Final {
				t.Errorf("got %+v for exit %+v:\n%s", f, exit, strings.Join(p.Tail(20), "\n"))
			}
		})
	}
	t.Run("port in use", func(t *testing.T) {
		theirs := start(t, d, 100, launch())
		eventually(t, "port", func() bool { return theirs.Port() != 0 })
		l := plan(t, func(in *engine.Input) { in.Path = demo(t, "x") })
		for i, a := range l.Argv {
			if a == "--port" {
				l.Argv[i+1] = strconv.Itoa(theirs.Port())
			}
		}
		p := start(t, d, 101, l)
		exit := waitDone(t, p)
		if f := engine.Diagnose(api.EngineLlamaCPP, p.Tail(200), exit); f.Code != api.FailPortInUse {
			t.Errorf("got %+v", f)
		}
		if err := theirs.Kill(); err != nil {
			t.Error(err)
		}
	})
}
