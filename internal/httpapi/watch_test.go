package httpapi_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tmaxmax/go-sse"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
)

// stream opens an event stream and returns its events as they come; the channel closes at the stream's end.
func stream(t *testing.T, url string, header ...string) <-chan sse.Event {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secrets[auth.Admin])
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	events := make(chan sse.Event)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(events)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = res.Body.Close() }()
		for e, err := range sse.Read(res.Body, &sse.ReadConfig{MaxEventSize: 1 << 20}) {
			if err != nil {
				return
			}
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return events
}

// uidOf returns the uid that an event is about; empty for "synced".
func uidOf(t *testing.T, e sse.Event) string {
	t.Helper()
	var v struct {
		ModelUID string         `json:"model_uid"`
		State    api.ModelState `json:"state"`
	}
	if err := json.Unmarshal([]byte(e.Data), &v); err != nil {
		t.Fatalf("event %s: %v", e.Type, err)
	}
	return v.ModelUID
}

func TestWatch_tellsWhatIsAndWhatComes(t *testing.T) {
	s := serve(t)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/a","model_uid":"a","labels":{"team":"x"}}`)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/b","model_uid":"b"}`)
	all := stream(t, s.URL+"/api/v2/models?watch=1")
	some := stream(t, s.URL+"/api/v2/models?watch=1&label=team%3Dx")
	one := stream(t, s.URL+"/api/v2/models/b?watch=1")

	expect := func(events <-chan sse.Event, kind, uid string) {
		t.Helper()
		e, ok := <-events
		if !ok || e.Type != kind || uidOf(t, e) != uid {
			t.Fatalf("event %q %s, open %v; want %q %s", e.Type, e.Data, ok, kind, uid)
		}
	}
	expect(all, "model", "a")
	expect(all, "model", "b")
	expect(all, "synced", "")
	expect(some, "model", "a")
	expect(some, "synced", "")
	expect(one, "model", "b")

	s.must(200, "POST", "/api/v2/models/b/start", "")
	expect(all, "model", "b")
	expect(one, "model", "b")
	s.must(200, "PUT", "/api/v2/models/a", `{"labels":{"team":"y"}}`)
	expect(all, "model", "a")
	expect(some, "deleted", "a") // it does not match any more
	s.must(200, "DELETE", "/api/v2/models/b", "")
	expect(all, "deleted", "b")
	expect(one, "deleted", "b")
	if e, open := <-one; open {
		t.Errorf("the watch of a deleted model goes on with %v", e)
	}
}

// TestWatch_endsWithTheProcess: an open watch holds nobody up.
func TestWatch_endsWithTheProcess(t *testing.T) {
	s := serve(t)
	cfg := config(s.st)
	closing := make(chan struct{})
	cfg.Closing, cfg.Log = closing, slog.New(slog.DiscardHandler)
	h := httptest.NewServer(newAPI(t, cfg))
	defer h.Close()
	events := stream(t, h.URL+"/api/v2/models?watch=1")
	<-events // synced
	close(closing)
	for range events { // until the server ends the stream
		continue
	}
}

func TestWatch_headIsAnswered(t *testing.T) {
	s := serve(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, s.URL+"/api/v2/models?watch=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secrets[auth.Viewer])
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if b, err := io.ReadAll(res.Body); err != nil || len(b) != 0 || res.StatusCode != 200 {
		t.Errorf("HEAD of a watch: %d, %d bytes, %v", res.StatusCode, len(b), err)
	}
}
