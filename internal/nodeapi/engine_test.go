package nodeapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/demomodel"
	"github.com/nebula-serve/nebula/internal/feed"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
	"github.com/nebula-serve/nebula/test/llama"
)

var listening = regexp.MustCompile(`listening on (http://127\.0\.0\.1:\d+)`)

const reply = "All of this came from a real engine."

// realEngine serves the demo model with a llama-server until the test ends.
func realEngine(t testing.TB) (url string, pid int) {
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
	cmd := exec.Command(server, "-m", model, "-a", "m", "--host", "127.0.0.1", "--port", "0", "--jinja", "--threads", "1", "--metrics", "-c", "32768", "-np", "1")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	until(t, "llama-server to listen", func() bool {
		text, _ := os.ReadFile(log.Name())
		m := listening.FindSubmatch(text)
		if m != nil {
			url = string(m[1])
		}
		return m != nil
	})
	until(t, "the model to load", func() bool { text, err := get(url + "/health"); return err == nil && strings.Contains(text, "ok") })
	return url, cmd.Process.Pid
}

func get(url string) (string, error) {
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return "", err
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func TestRealEngine_throughItsNode(t *testing.T) {
	url, _ := realEngine(t)
	f := newFleet(t)
	n := f.node("n1", Config{})
	ready := n.endpoint("m", 0, url)
	ready.EngineType = api.EngineLlamaCPP
	n.SetEndpoints([]api.EndpointInfo{ready})
	f.shows(ready)
	f.routes("m", 0, 1)
	f.wants(f.chat(plain), 200, reply)
	if got := f.chat(stream); got.status != 200 || !strings.HasSuffix(got.body, "data: [DONE]\n\n") {
		t.Errorf("got %+v", got)
	}
	// A client that leaves frees the engine, through both hops, also when it did not ask for a stream.
	const long = `"ignore_eos":true,"max_tokens":30000}`
	for _, body := range []string{plain, stream} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			res, err := f.post(ctx, strings.TrimSuffix(body, "}")+","+long)
			if err == nil {
				_, err = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			ended <- err
		}()
		processing := func(n string) func() bool {
			return func() bool {
				text, err := get(url + "/metrics")
				return err == nil && strings.Contains(text, "\nllamacpp:requests_processing "+n+"\n")
			}
		}
		until(t, "the engine to be at work", processing("1"))
		cancel()
		if err := <-ended; err == nil {
			t.Fatal("the engine was through already")
		}
		until(t, "the engine to be free", processing("0"))
	}
	until(t, "nothing to be in flight", func() bool { return n.InFlight("m", 0) == 1 })
}

// down is a feed whose servers are all away.
type down struct{}

func (down) Stream(context.Context, string) (io.ReadCloser, error) {
	return nil, errors.New("no server answers")
}

// A gateway that is restarted while every server is away serves from its snapshot, by a real engine.
func TestRealEngine_gatewayRestartsWithoutAnyServer(t *testing.T) {
	url, _ := realEngine(t)
	r := newRealm(t)
	n := r.node("n1", Config{})
	ready := n.endpoint("m", 0, url)
	n.SetEndpoints([]api.EndpointInfo{ready})

	kv := storetest.NewMem()
	defer kv.Close()
	for key, doc := range map[string]string{
		"/models/m/spec": `{"model_uid":"m","model_name":"demo"}`,
		"/endpoints/m/0": fmt.Sprintf(`{"model_uid":"m","replica_id":0,"node_id":"n1","node_addr":%q,"status":"ready","base_url":%q,"engine_type":"llamacpp","served_name":"m"}`, n.addr, url),
	} {
		if _, err := kv.Txn(t.Context(), nil, []store.Op{{Key: key, Value: []byte(doc)}}); err != nil {
			t.Fatal(err)
		}
	}
	own := r.credential(api.MachineGateway, "g1")
	snapshot := store.Snapshot{Path: filepath.Join(t.TempDir(), "state"), Sign: own.Sign, Verify: own.Verify}
	quiet := slog.New(slog.DiscardHandler)
	before, err := store.Open(t.Context(), kv, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := before.Keep(ended, snapshot); err != nil {
		t.Fatal(err)
	}

	after, err := store.OpenSnapshot(t.Context(), feed.NewKV(down{}), quiet, snapshot)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = after.Run(ctx) })
	defer running.Wait()
	defer stop()
	f := r.gateway(after, nil)
	f.wants(f.chat(plain), 200, reply)
}
