package httpapi_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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

// verbs returns the events until, and with, the first one of a kind, or with a verb, as their kinds or verbs, and the id to resume from.
func verbs(t *testing.T, events <-chan sse.Event, last string) (got []string, id string) {
	t.Helper()
	patience := time.After(30 * time.Second)
	for {
		select {
		case e, open := <-events:
			if !open {
				t.Fatalf("the stream ended after %v", got)
			}
			what := e.Type
			if e.Type == "event" {
				var v api.ModelEvent
				if err := json.Unmarshal([]byte(e.Data), &v); err != nil || v.ID == "" || strings.Contains(e.Data, "127.0.0.1") {
					t.Fatalf("event %s: %v", e.Data, err)
				}
				what = v.Verb
			}
			if got = append(got, what); what == last {
				return got, e.LastEventID
			}
		case <-patience:
			t.Fatalf("no %s after %v", last, got)
		}
	}
}

// happened is what the leader writes into a history: no document of the State moves with it.
func happened(uid, id, verb string) store.Op {
	return store.Op{Key: "/events/" + uid + "/" + id, Value: fmt.Appendf(nil, `{"id":%q,"model_uid":%q,"verb":%q}`, id, uid, verb)}
}

// TestWatchEvents: all that is kept, oldest first, then what people and the leader do, as it is written, out of the one watch that the server has.
func TestWatchEvents(t *testing.T) {
	kv := &counted{KV: storetest.NewMem()}
	s := serveOn(t, kv, func(*httpapi.Config) {})
	s.must(201, "POST", "/api/v2/models", `{"model_uid":"m","model_name":"acme/m","model_source":"huggingface"}`)
	s.must(201, "POST", "/api/v2/models", `{"model_uid":"mm","model_name":"acme/m","model_source":"huggingface"}`)
	events := stream(t, s.URL+"/api/v2/models/m/events?watch=1", "Last-Event-ID", "0")
	if got, _ := verbs(t, events, "synced"); !slices.Equal(got, []string{"model.create", "synced"}) {
		t.Errorf("told %v", got)
	}
	lists := kv.lists.Load()
	s.must(200, "POST", "/api/v2/models/mm/stop", "")
	s.must(200, "POST", "/api/v2/models/m/stop", "")
	verbs(t, events, "model.stop")
	if _, err := kv.Txn(t.Context(), nil, []store.Op{happened("m", "2", "unplaced"), happened("mm", "2", "placed"), happened("m", "1", "stopped")}); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Txn(t.Context(), nil, []store.Op{{Key: "/events/m/0", Value: []byte("not JSON")}, happened("m", "3", "running")}); err != nil {
		t.Fatal(err)
	}
	if got, _ := verbs(t, events, "running"); !slices.Equal(got, []string{"unplaced", "stopped", "running"}) {
		t.Errorf("told %v", got)
	}
	if n := kv.watches.Load(); n != 1 || kv.lists.Load() != lists {
		t.Errorf("%d watches of the store, want the server's own; listed %d times for events", n, kv.lists.Load()-lists)
	}
	s.must(200, "DELETE", "/api/v2/models/m", "")
	if got, _ := verbs(t, events, "deleted"); !slices.Equal(got, []string{"model.delete", "deleted"}) {
		t.Errorf("told %v", got)
	}
	if e, open := <-events; open {
		t.Errorf("after the end comes %v", e)
	}
	got, _ := verbs(t, stream(t, s.URL+"/api/v2/models/m/events?watch=1"), "deleted") // its history is kept for a day
	if d := cmp.Diff([]string{"model.create", "model.stop", "stopped", "unplaced", "running", "model.delete", "synced", "deleted"}, got); d != "" {
		t.Error(d)
	}
}

// TestWatchEvents_resumes: who comes back with the id of the last event is told what was written since, here or at another server, also when the store has
// been compacted meanwhile; and is told so where the store went back to a backup.
func TestWatchEvents_resumes(t *testing.T) {
	kv := storetest.NewMem()
	s, other := serveOn(t, kv, func(*httpapi.Config) {}), serveOn(t, kv, func(*httpapi.Config) {})
	s.must(201, "POST", "/api/v2/models", `{"model_uid":"m","model_name":"acme/m","model_source":"huggingface"}`)
	const path = "/api/v2/models/m/events?watch=1"
	events := stream(t, s.URL+path)
	_, id := verbs(t, events, "synced")
	restore := kv.Backup()
	s.must(200, "POST", "/api/v2/models/m/stop", "")
	_, stopped := verbs(t, events, "model.stop")
	s.must(200, "POST", "/api/v2/models/m/start", "")
	if err := kv.Compact(t.Context(), kv.Revision()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		query, header string
		want          []string
	}{
		{"&since=" + id, "", []string{"model.stop", "model.start", "synced"}},
		{"", id, []string{"model.stop", "model.start", "synced"}},
		{"&since=1", stopped, []string{"model.start", "synced"}},
		{"&since=1", "", []string{"model.create", "model.stop", "model.start", "synced"}},
		{"&since=99999999", "", []string{"reset", "model.create", "model.stop", "model.start", "synced"}},
	} {
		for _, at := range []string{s.URL, other.URL} {
			got, now := verbs(t, stream(t, at+path+c.query, "Last-Event-ID", c.header), "synced")
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("%s %q: %s", c.query, c.header, d)
			}
			if got, _ := verbs(t, stream(t, at+path, "Last-Event-ID", now), "synced"); len(got) != 1 {
				t.Errorf("resumed from the end, told %v", got)
			}
		}
	}
	verbs(t, events, "model.start")
	restore()
	if got, _ := verbs(t, events, "synced"); !slices.Equal(got, []string{"reset", "model.create", "synced"}) {
		t.Errorf("after the store went back it is told %v", got)
	}
	s.must(200, "POST", "/api/v2/models/m/stop", "")
	verbs(t, events, "model.stop")
}

// TestWatchEvents_refusals: what cannot be watched is said before anything is told, and what goes away without a word is noticed.
func TestWatchEvents_refusals(t *testing.T) {
	s := serveOn(t, storetest.NewMem(), func(c *httpapi.Config) { c.Historians = 2 })
	s.must(201, "POST", "/api/v2/models", `{"model_uid":"m","model_name":"acme/m","model_source":"huggingface"}`)
	const path = "/api/v2/models/m/events?watch=1"
	for _, since := range []string{"x", "-1", "1.5", "99999999999999999999", "%00"} {
		if res, body := s.call("GET", path+"&since="+since, ""); res.StatusCode != 400 || errorOf(t, body).Code != api.CodeInvalidRequest {
			t.Errorf("since %s: %d %s", since, res.StatusCode, body)
		}
	}
	s.must(400, "GET", path, "", "Last-Event-ID", "yesterday")
	s.must(401, "GET", path, "", "Authorization", "Bearer none")
	s.must(403, "GET", path, "", "Authorization", "Bearer "+secrets[auth.Inference])
	for _, uid := range []string{"none", "..%2Fmm", "%00", strings.Repeat("x", 500)} {
		s.must(404, "GET", "/api/v2/models/"+uid+"/events?watch=1", "")
	}
	var open []<-chan sse.Event
	for range 2 {
		open = append(open, stream(t, s.URL+path))
		verbs(t, open[len(open)-1], "synced")
	}
	if res, body := s.call("GET", path, ""); res.StatusCode != 429 || !strings.Contains(body, "end some") {
		t.Errorf("a third one: %d %s", res.StatusCode, body)
	}
	s.must(200, "GET", "/api/v2/models/m/events", "")
	s.must(200, "HEAD", path, "")
	s.must(200, "DELETE", "/api/v2/models/m", "")
	for _, events := range open {
		verbs(t, events, "deleted")
		if _, more := <-events; more {
			t.Error("it goes on")
		}
	}
	verbs(t, stream(t, s.URL+path), "deleted") // there is room again
}
