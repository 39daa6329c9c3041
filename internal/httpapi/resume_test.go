package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tmaxmax/go-sse"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// until returns the events before, and with, the first of a kind, as "kind uid", and the id to resume from.
func until(t *testing.T, events <-chan sse.Event, kind string) (got []string, id string) {
	t.Helper()
	for e := range events {
		got = append(got, strings.TrimSpace(e.Type+" "+uidOf(t, e)))
		if e.Type == kind {
			return got, e.LastEventID
		}
	}
	t.Fatalf("the stream ended after %v", got)
	return nil, ""
}

// TestWatch_resumes: who comes back with the id of the last event gets what happened since, deletions too, and nothing else; by header or by ?since.
func TestWatch_resumes(t *testing.T) {
	s := serve(t)
	for _, uid := range []string{"a", "b", "c", "d"} {
		s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"`+uid+`","labels":{"team":"x"}}`)
	}
	url := s.URL + "/api/v2/models?watch=1"
	_, id := until(t, stream(t, url), "synced")
	s.must(200, "DELETE", "/api/v2/models/b", "")
	s.must(200, "PUT", "/api/v2/models/c", `{"labels":{"team":"y"}}`)
	s.must(200, "PUT", "/api/v2/models/c", `{"labels":{"team":"z"}}`)
	for _, c := range []struct {
		query  string
		header []string
		want   []string
	}{
		{"&since=" + id, nil, []string{"deleted b", "model c", "synced"}},
		{"", []string{"Last-Event-ID", id}, []string{"deleted b", "model c", "synced"}},
		{"&since=1", []string{"Last-Event-ID", id}, []string{"deleted b", "model c", "synced"}}, // as browsers come back
		{"&label=team%3Dx&since=" + id, nil, []string{"deleted b", "deleted c", "synced"}},
		{"&label=team%3Dz&since=" + id, nil, []string{"model c", "synced"}},
		{"&label=team%3Dq&since=" + id, nil, []string{"synced"}},
	} {
		got, now := until(t, stream(t, url+c.query, c.header...), "synced")
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %v: %s", c.query, c.header, diff)
		}
		if again, _ := until(t, stream(t, url+c.query, "Last-Event-ID", now), "synced"); len(again) != 1 {
			t.Errorf("%s: resumed from the end, told %v", c.query, again)
		}
	}
}

// TestWatch_startsAnewWhereItCannotResume says so first: the revision is of a store that is not this one any more, or of before this server's time.
func TestWatch_startsAnewWhereItCannotResume(t *testing.T) {
	s := serve(t)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"a"}`)
	url := s.URL + "/api/v2/models?watch=1"
	until(t, stream(t, url), "synced")
	for _, since := range []string{"1", "999999"} {
		got, _ := until(t, stream(t, url+"&since="+since), "synced")
		if diff := cmp.Diff([]string{"reset", "model a", "synced"}, got); diff != "" {
			t.Errorf("since %s: %s", since, diff)
		}
	}
	for _, since := range []string{"x", "-1", "1.5", "99999999999999999999", "%00"} {
		for _, path := range []string{"/api/v2/models?watch=1", "/api/v2/models/a?watch=1", "/api/v2/nodes?watch=1"} {
			if res, body := s.call("GET", path+"&since="+since, ""); res.StatusCode != 400 || errorOf(t, body).Code != api.CodeInvalidRequest {
				t.Errorf("%s since %s: %d %s", path, since, res.StatusCode, body)
			}
		}
	}
	s.must(400, "GET", "/api/v2/models?watch=1", "", "Last-Event-ID", "yesterday")
	s.must(400, "GET", "/api/v2/models?watch=1&engine=warp", "")
}

// TestWatch_slowWatcherIsDropped: a watcher who does not read holds up nobody, and is let go.
func TestWatch_slowWatcherIsDropped(t *testing.T) {
	kv := storetest.NewMem()
	long := strings.Repeat("x", 60_000)
	for i := range 200 {
		kv.Put(fmt.Sprintf("/models/m%03d/spec", i), fmt.Appendf(nil, `{"model_uid":"m%03d","model_name":"acme/m","model_source":"huggingface","labels":{"long":%q}}`, i, long))
	}
	left := make(chan struct{})
	s := serveOn(t, kv, func(cfg *httpapi.Config) { cfg.SlowAfter = 300 * time.Millisecond })
	inner := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(w, r)
		if r.URL.RawQuery == "watch=1" {
			close(left)
		}
	})
	slow, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slow.Close() }()
	if _, err := fmt.Fprintf(slow, "GET /api/v2/models?watch=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", secrets[auth.Viewer]); err != nil {
		t.Fatal(err)
	}
	quick := stream(t, s.URL+"/api/v2/models?watch=1&label=team%3Dx")
	until(t, quick, "synced")
	s.must(200, "PUT", "/api/v2/models/m000", `{"labels":{"team":"x"}}`)
	until(t, quick, "model")
	<-left // without a byte more having been read
	_ = slow.SetReadDeadline(time.Now().Add(time.Minute))
	rest, err := io.ReadAll(bufio.NewReader(slow))
	if strings.Contains(string(rest), "event: synced") {
		t.Errorf("it was told everything, %d bytes", len(rest))
	}
	if netErr, ok := errors.AsType[net.Error](err); ok && netErr.Timeout() {
		t.Error("its connection was not closed")
	}
}

// counted counts what is asked of a store.
type counted struct {
	store.KV
	lists, watches atomic.Int64
}

func (c *counted) List(ctx context.Context, prefix string) ([]store.KeyValue, int64, error) {
	c.lists.Add(1)
	return c.KV.List(ctx, prefix)
}

func (c *counted) Watch(ctx context.Context, prefix string, revision int64, fn func(store.Batch) error) error {
	c.watches.Add(1)
	return c.KV.Watch(ctx, prefix, revision, fn)
}

// TestReads_askTheStoreNothing: whatever is read through the API but histories, the store is listed and watched once, by the server itself.
func TestReads_askTheStoreNothing(t *testing.T) {
	kv := &counted{KV: storetest.NewMem()}
	s := serveOn(t, kv, func(*httpapi.Config) {})
	manyOfEverything(t, s)
	lists := kv.lists.Load()
	for path := range listsOf(t, config(s.st)) {
		if path == "/api/v2/audit" || strings.HasSuffix(path, "/events") { // histories are in no State: few ask for them, and they would fill the memory
			continue
		}
		for range 3 {
			s.must(200, "GET", path, "")
			s.must(200, "GET", path+"?limit=2", "")
		}
		watch := stream(t, s.URL+path+"?watch=1")
		<-watch
	}
	for _, path := range []string{"/api/v2/models/n", "/api/v2/nodes/n", "/api/v2/cluster", "/api/v2/cache/summary"} {
		s.must(200, "GET", path, "")
	}
	if now := kv.lists.Load(); now != lists || kv.watches.Load() != 1 {
		t.Errorf("the store was listed %d times more, and has %d watches", now-lists, kv.watches.Load())
	}
}

// TestWatch_everyList: each list whose row says so can be watched, and shows a change.
func TestWatch_everyList(t *testing.T) {
	s := serve(t)
	manyOfEverything(t, s)
	for path, r := range listsOf(t, config(s.st)) {
		if r.Has&httpapi.Watches == 0 || strings.HasSuffix(path, "/events") { // which tells its events one by one: see TestWatchEvents
			continue
		}
		events := stream(t, s.URL+path+"?watch=1")
		e := <-events
		var whole []json.RawMessage
		if err := json.Unmarshal([]byte(e.Data), &whole); path != "/api/v2/models" && (err != nil || len(whole) < 3 || e.LastEventID == "") {
			t.Errorf("%s: the first event is %s %q %s", path, e.Type, e.LastEventID, e.Data)
		}
		if res, body := s.call(http.MethodHead, path+"?watch=1", ""); res.StatusCode != 200 {
			t.Errorf("HEAD %s: %d %s", path, res.StatusCode, body)
		}
	}
}

// TestWatch_callerWithoutTime: a watch from a revision that is still to come waits, and a caller whose time is over meanwhile is no failure inside.
func TestWatch_callerWithoutTime(t *testing.T) {
	s := serve(t)
	cfg := config(s.st)
	var log strings.Builder
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/api/v2/models?watch=1&since=100000", nil)
	r.Header.Set("Authorization", "Bearer "+secrets[auth.Admin])
	w := httptest.NewRecorder()
	newAPI(t, cfg).ServeHTTP(w, r)
	if w.Code >= 500 || strings.Contains(log.String(), "request failed") {
		t.Errorf("%d %s\n%s", w.Code, w.Body, log.String())
	}
}
