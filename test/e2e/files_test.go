package e2e

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/demomodel"
	"github.com/nebula-serve/nebula/internal/etcd"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/test/hub"
	"github.com/nebula-serve/nebula/test/llama"
)

// repo is a repository with a demo model of about a megabyte, so that a slow hub takes seconds over it.
func repo(t *testing.T, reply string) hub.Repo {
	t.Helper()
	var b bytes.Buffer
	if err := demomodel.Write(&b, demomodel.Options{Name: "tiny", Reply: reply}); err != nil {
		t.Fatal(err)
	}
	return hub.Repo{ID: "acme/Tiny-GGUF", Files: map[string][]byte{
		"tiny-Q4_K_M.gguf": b.Bytes(), "tiny-F16.gguf": bytes.Repeat([]byte("x"), 4<<20), "README.md": []byte("# Tiny\n"),
	}}
}

// longReply makes the model file about a megabyte large.
func longReply() string {
	var words []string
	for i := range 1500 {
		words = append(words, fmt.Sprintf("word%d", i))
	}
	return strings.Join(words, " ")
}

// TestDownload_survivesKill9: the whole of nebula up is killed in the middle of a download; the next one goes on where it was.
func TestDownload_survivesKill9(t *testing.T) {
	reply := longReply()
	r := repo(t, reply)
	whole := int64(len(r.Files["tiny-Q4_K_M.gguf"]))
	h := hub.Start(t, r)
	h.Break(hub.Faults{BytesPerSecond: int(whole / 6)})
	n := up(t, "--llama-server", llama.Need(t), "--hf-endpoint", h.URL)
	n.must("model", "create", "acme/Tiny-GGUF", "--uid", "tiny", "--start")
	half := func() error {
		d := n.model("tiny")
		if d.State != api.StateDownloading || d.DownloadProgress == nil || len(d.DownloadProgress.Replicas) != 1 {
			return fmt.Errorf("model is %s, progress %+v", d.State, d.DownloadProgress)
		}
		p := d.DownloadProgress.Replicas[0]
		if p.TotalBytes != uint64(whole)+uint64(len(r.Files["README.md"])) && p.TotalBytes != uint64(whole) {
			return fmt.Errorf("total %d bytes, the model has %d", p.TotalBytes, whole)
		}
		if p.DownloadedBytes < uint64(whole)/2 {
			return fmt.Errorf("%d of %d bytes", p.DownloadedBytes, p.TotalBytes)
		}
		return nil
	}
	eventually(t, 60*time.Second, half)
	n.kill9()
	before := h.Sent()
	n.start()
	n.until("tiny", 60*time.Second, api.StateRunning)
	if again := h.Sent() - before; again > whole*3/4 {
		t.Errorf("%d bytes fetched after the restart of a model of %d: it began anew", again, whole)
	}
	if got, err := n.ask("tiny"); err != nil || got != reply {
		t.Errorf("answer of %d bytes, %v; want the reply of %d", len(got), err, len(reply))
	}
	d := n.model("tiny")
	eventually(t, 30*time.Second, func() error { // the cache is looked at now and then
		if d = n.model("tiny"); d.CacheStatus == nil || len(d.CacheStatus.CachedOnNodes) != 1 {
			return fmt.Errorf("cache status %+v", d.CacheStatus)
		}
		return nil
	})
}

// TestModelScope_serves: a private model of ModelScope, by its environment's token, in the quantisation that its name says; then without the hub.
func TestModelScope_serves(t *testing.T) {
	const reply = "From the other hub."
	r := repo(t, reply)
	r.Files["tiny-Q8_0.gguf"] = r.Files["tiny-Q4_K_M.gguf"]
	delete(r.Files, "tiny-Q4_K_M.gguf")
	r.Private, r.Allow = true, []string{"ms-canary"}
	h := hub.Start(t, r)
	t.Setenv("MODELSCOPE_API_TOKEN", "ms-canary")
	n := up(t, "--llama-server", llama.Need(t), "--modelscope-endpoint", h.ScopeURL, "--download-connections", "2", "--download-rate", "50MB")
	n.must("model", "create", "acme/Tiny-GGUF:q8_0", "--uid", "tiny", "--source", "modelscope", "--start", "--wait", "--timeout", "60s")
	if got, err := n.ask("tiny"); err != nil || got != reply {
		t.Errorf("answer %q, %v", got, err)
	}
	if m := n.model("tiny"); m.Spec.ModelName != "acme/Tiny-GGUF" || len(m.Spec.Files) != 1 || m.Spec.Files[0] != "q8_0" {
		t.Errorf("the spec has name %s, files %v", m.Spec.ModelName, m.Spec.Files)
	}
	for _, pid := range n.engines() {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || bytes.Contains(env, []byte("ms-canary")) || !bytes.Contains(env, []byte("LLAMA_ARG_OFFLINE=1")) {
			t.Errorf("engine %d: %v, environment %q", pid, err, env)
		}
	}
	n.interrupt()
	h.Forget()
	t.Setenv("HF_HUB_OFFLINE", "yes")
	n.start()
	n.until("tiny", 60*time.Second, api.StateRunning)
	if asked := h.Requests(); len(asked) != 0 {
		t.Errorf("the restart asked the hub: %v", asked)
	}
}

// TestDownload_stopCancelsAndStartGoesOn: a stopped model downloads nothing more.
func TestDownload_stopCancelsAndStartGoesOn(t *testing.T) {
	r := repo(t, longReply())
	h := hub.Start(t, r)
	h.Break(hub.Faults{BytesPerSecond: 20_000})
	n := up(t, "--llama-server", llama.Need(t), "--hf-endpoint", h.URL)
	n.must("model", "create", "acme/Tiny-GGUF", "--uid", "tiny", "--start")
	n.until("tiny", 60*time.Second, api.StateDownloading)
	n.must("model", "stop", "tiny", "--wait", "--timeout", "30s")
	h.Break(hub.Faults{})
	n.must("model", "start", "tiny", "--wait", "--timeout", "60s")
}

// TestHubRefusals_sayWhy: what the hub refuses is the model's reason.
func TestHubRefusals_sayWhy(t *testing.T) {
	files := map[string][]byte{"m.gguf": []byte("GGUF")}
	h := hub.Start(t, hub.Repo{ID: "acme/Gated", Gated: true, Files: files}, hub.Repo{ID: "acme/Private", Private: true, Files: files})
	n := up(t, "--llama-server", llama.Need(t), "--hf-endpoint", h.URL)
	for uid, c := range map[string]struct{ name, code, says string }{
		"gated":   {"acme/Gated", "hub_auth", "ask for access"},
		"missing": {"acme/None", "hub_error", "check the name"},
		"private": {"acme/Private", "hub_error", "token"}, // the hub answers 401, as for one that is missing
	} {
		n.must("model", "create", c.name, "--uid", uid, "--engine", "llamacpp", "--start")
		d := n.until(uid, 60*time.Second, api.StateFailed)
		if d.Reason == nil || d.Reason.Code != c.code || !strings.Contains(d.Reason.Message, c.says) {
			t.Errorf("%s failed with %+v; want %s with %q", uid, d.Reason, c.code, c.says)
		}
		if out := n.must("model", "get", uid); !strings.Contains(strings.Join(strings.Fields(out), " "), d.Reason.Message) {
			t.Errorf("nebula model get %s does not say %q:\n%s", uid, d.Reason.Message, out)
		}
	}
}

// TestModelScope_servesAPrivateModel: from ModelScope to an answer, with a token that only ModelScope itself sees.
func TestModelScope_servesAPrivateModel(t *testing.T) {
	const token = "ms-canary"
	r := repo(t, "From the other hub.")
	r.Private, r.Allow = true, []string{token}
	h := hub.Start(t, r)
	n := up(t, "--llama-server", llama.Need(t), "--hf-endpoint", "http://127.0.0.1:1", "--modelscope-endpoint", h.ScopeURL)
	n.interrupt()
	n.env = []string{"MODELSCOPE_API_TOKEN=" + token}
	n.start()
	n.must("model", "create", r.ID, "--source", "modelscope", "--uid", "tiny", "--start", "--wait", "--timeout", "60s")
	if got, err := n.ask("tiny"); err != nil || got != "From the other hub." {
		t.Errorf("answer %q, %v", got, err)
	}
	seen := false
	for _, req := range h.Requests() {
		switch sent := strings.Contains(req.Authorization+req.Cookie, token); {
		case "http://"+req.Host == h.ScopeURL:
			seen = seen || sent
		case sent:
			t.Errorf("%s was told the token: %s", req.Host, req.Path)
		}
	}
	if whole := int64(len(r.Files["tiny-Q4_K_M.gguf"])); !seen || h.Sent() > whole+100 {
		t.Errorf("token seen: %v; %d bytes sent of a model of %d", seen, h.Sent(), whole)
	}
	// A restart asks nobody, and a revision that is not there is said to be so.
	h.Forget()
	n.interrupt()
	n.start()
	n.until("tiny", 60*time.Second, api.StateRunning)
	if asked := h.Requests(); len(asked) > 0 {
		t.Errorf("%d requests after a restart, first %s", len(asked), asked[0].Path)
	}
	n.must("model", "create", r.ID, "--source", "modelscope", "--revision", "v9", "--uid", "v9", "--engine", "llamacpp", "--start")
	n.until("v9", 60*time.Second, api.StateFailed)
	if out := n.must("model", "get", "v9"); !strings.Contains(out, "v9") || !strings.Contains(out, "revision") {
		t.Errorf("nebula model get:\n%s", out)
	}
}

// TestUnreadableValues_stopNothing: garbage in the real store is reported, kept, and never taken for a deletion.
func TestUnreadableValues_stopNothing(t *testing.T) {
	n := up(t, "--llama-server", llama.Need(t))
	n.running("m", "Not disturbed.")
	n.running("other", "Fine.")
	pid := n.pids("m")[0]
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	kv, err := etcd.Dial(ctx, etcd.Config{Endpoints: []string{"unix://" + n.dir + "/etcd/etcd.sock"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kv.Close() }()
	garbage := []store.Op{
		{Key: "/placements/m", Value: []byte(`{"assignments":`)},
		{Key: "/deployments/other", Value: []byte(`{"model_uid":"other","desired_state":"dancing"}`)},
		{Key: "/models/strange/spec", Value: []byte{0xff, 0x00}},
	}
	if _, err := kv.Txn(ctx, nil, garbage); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() error {
		if d := n.model("m"); d.Reason == nil || d.Reason.Code != api.ReasonUnreadable {
			return fmt.Errorf("m is %s, reason %+v", d.State, d.Reason)
		}
		return nil
	})
	for uid, reply := range map[string]string{"m": "Not disturbed.", "other": "Fine."} {
		if got, err := n.ask(uid); err != nil || got != reply {
			t.Errorf("%s: %q, %v", uid, got, err)
		}
	}
	// Also over a kill and a restart, when nothing but the store can tell what was wanted.
	n.kill9()
	n.start()
	eventually(t, 30*time.Second, func() error {
		got, err := n.ask("m")
		if err == nil && got != "Not disturbed." {
			err = fmt.Errorf("answer %q", got)
		}
		return err
	})
	if !alive(pid) || n.pids("m")[0] != pid {
		t.Errorf("the engine of the unreadable placement was touched: pid %d, then %v", pid, n.pids("m"))
	}
	kvs, _, err := kv.List(ctx, "/placements/m")
	if err == nil && (len(kvs) != 1 || string(kvs[0].Value) != `{"assignments":`) {
		t.Errorf("the unreadable value was overwritten: %v", kvs)
	}
	n.must("model", "delete", "m") // the way out
	eventually(t, 60*time.Second, func() error {
		if alive(pid) {
			return fmt.Errorf("engine %d still runs", pid)
		}
		return nil
	})
}
