package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/demomodel"
	"github.com/nebula-serve/nebula/test/llama"
)

var listening = regexp.MustCompile(`listening on (http://127\.0\.0\.1:\d+)`)

const reply = "All of this came from a real engine."

// realEngine serves the demo model with a llama-server until the test ends, behind a gateway that calls it "m".
func realEngine(t *testing.T) (url string, f *fixture) {
	t.Helper()
	server, dir := llama.Need(t), t.TempDir()
	model := filepath.Join(dir, "demo.gguf")
	if err := demomodel.WriteFile(model, demomodel.Options{Reply: reply}); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(server, "-m", model, "-a", "m", "--host", "127.0.0.1", "--port", "0", "--jinja", "--threads", "1", "--metrics",
		"-c", "32768", "-np", "1")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(3 * patience); ; time.Sleep(20 * time.Millisecond) {
		text, _ := os.ReadFile(log.Name())
		if m := listening.FindSubmatch(text); m != nil {
			url = string(m[1])
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("llama-server does not listen:\n%s", text)
		}
	}
	f = newFixture(t, Limits{}, func(s *cluster.State) {
		addModel(s, "m", "demo")
		addEndpoint(s, api.EndpointInfo{ModelUID: "m", NodeID: "n1", Status: api.EndpointReady, BaseURL: &url, EngineType: api.EngineLlamaCPP, ServedName: "m"})
	})
	f.until("the model to load", func() bool { return f.chat(plainChat).status == 200 })
	return url, f
}

// What we collect from a stream is what the same engine answers when it is asked without one.
func TestRealEngine_collectedAnswerEqualsItsOwn(t *testing.T) {
	url, f := realEngine(t)
	for _, c := range []struct{ path, body string }{
		{chatPath, `{"model":"m","messages":[{"role":"user","content":"hi"}]}`},
		{chatPath, `{"model":"m","messages":[{"role":"user","content":"hi"}],"logprobs":true,"top_logprobs":2,"max_tokens":3}`},
		{chatPath, `{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":1,"stream":false}`},
		{"/v1/completions", `{"model":"m","prompt":"hi"}`},
		{"/v1/completions", `{"model":"m","prompt":["a","b"],"max_tokens":2}`},
		{"/v1/completions", `{"model":"m","prompt":"hi","max_tokens":2,"logprobs":1}`},
	} {
		ours := f.do("POST", c.path, c.body)
		ours.wants(t, 200)
		theirs := post(t, url+c.path, c.body)
		if diff := cmp.Diff(comparing(t, theirs), comparing(t, ours.body)); diff != "" {
			t.Errorf("%s %s: -its own +collected:\n%s", c.path, c.body, diff)
		}
	}
	f.chat(`{"model":"demo","messages":[{"role":"user","content":"hi"}]}`).wants(t, 200, reply)
	stream := f.chat(`{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}`)
	if _, failure, done := parseStream(t, stream.body); failure != nil || !done {
		t.Errorf("the stream is %s", stream.body)
	}
}

func post(t *testing.T, url, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// comparing leaves out of an answer what differs from request to request.
func comparing(t *testing.T, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, key := range []string{"id", "created", "timings"} {
		if v[key] == nil {
			t.Errorf("there is no %s in %s", key, text)
		}
		delete(v, key)
	}
	if usage, ok := v["usage"].(map[string]any); ok {
		delete(usage, "prompt_tokens_details") // what is cached by then
	}
	return v
}

// The reason for all of that: a client that leaves frees the engine, although it did not ask for a stream.
func TestRealEngine_clientLeaves(t *testing.T) {
	url, f := realEngine(t)
	const all = 30_000
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", f.url+chatPath, strings.NewReader(fmt.Sprintf(
		`{"model":"m","messages":[{"role":"user","content":"hi"}],"ignore_eos":true,"max_tokens":%d}`, all)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	ended := make(chan error)
	go func() {
		res, err := f.http.Do(req)
		if err == nil {
			res.Body.Close()
		}
		ended <- err
	}()
	processing := func() string { return metricLine(t, url, "llamacpp:requests_processing") }
	f.until("the engine to be at work", func() bool { return processing() == "1" })
	cancel()
	if err := <-ended; err == nil {
		t.Fatal("the engine was through already")
	}
	f.until("the engine to stop", func() bool { return processing() == "0" })
	var n int
	if _, err := fmt.Sscan(metricLine(t, url, "llamacpp:n_decode_total"), &n); err != nil || n >= all {
		t.Errorf("the engine made all of %d tokens (%v)", n, err)
	}
	f.chat(plainChat).wants(t, 200, reply)
}

func metricLine(t *testing.T, url, name string) string {
	t.Helper()
	res, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return value
		}
	}
	return ""
}

// The errors of a real engine are known for what they are.
func TestRealEngine_refusals(t *testing.T) {
	_, f := realEngine(t)
	f.chat(`{"model":"m","messages":[{"role":"user","content":"`+strings.Repeat("word ", 40_000)+`"}]}`).wants(t, 400, codeContextTooLong)
	f.chat(`{"model":"m","messages":"hi"}`).wants(t, 400, "invalid_request")
	f.do("POST", "/v1/embeddings", `{"model":"m","input":"hi"}`).wants(t, 400, codeUnsupported)
}
