package cli_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nebula-serve/nebula/api"
)

// TestModelEvents_follow: each event is shown once, in the order in which it is told, over a connection that broke and one that ended; with the end of the model the
// command ends.
func TestModelEvents_follow(t *testing.T) {
	t.Parallel()
	event := func(id string, rev int) string {
		return fmt.Sprintf("event: event\nid: %d\ndata: {\"id\":%q,\"verb\":\"did-%s\",\"message\":\"\\u001b[31mx\"}\n\n", rev, id, id)
	}
	const synced = "event: synced\nid: 9\ndata: {}\n\n"
	parts := []struct{ since, text string }{
		{"", event("b", 5) + event("a", 7) + synced},
		{"9", synced},
		{"9", event("a", 9) + event("c", 12)},
		{"12", "event: deleted\ndata: {}\n\n"},
	}
	var calls atomic.Int64
	code, out, errs := terminal(t.Context(), t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v2/models" { // what else there is, for the hint
			answer([]api.ModelView{})(w, r)
			return
		}
		part := parts[min(int(calls.Add(1)), len(parts))-1]
		if r.URL.Query().Get("since") != part.since || r.URL.Query().Get("watch") != "1" {
			t.Errorf("asked for %s, want since %q", r.URL, part.since)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, part.text)
		_ = http.NewResponseController(w).Flush()
		if part.since == "9" {
			panic(http.ErrAbortHandler)
		}
	}), "model", "events", "m", "-f", "-o", "jsonpath=$.verb")
	if code != 3 || out != "did-b\ndid-a\ndid-c\n" || !strings.Contains(errs, "was deleted") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	if n := strings.Count(errs, "The connection is lost"); n != 3 {
		t.Errorf("%d losses are told, of 3: %q", n, errs)
	}
}

// TestModelEvents_followWithoutWatch: a server that lacks the watch answers with the list at once, and is asked again.
func TestModelEvents_followWithoutWatch(t *testing.T) {
	t.Parallel()
	ctx, over := context.WithCancel(t.Context())
	defer over()
	var calls atomic.Int64
	code, out, errs := terminal(ctx, t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		list := []api.ModelEvent{{ID: "2", Verb: "second"}, {ID: "1", Verb: "first"}}
		switch calls.Add(1) {
		case 1:
			if r.URL.Query().Get("watch") != "1" {
				t.Errorf("asked for %s", r.URL)
			}
		case 3:
			list = append([]api.ModelEvent{{ID: "3", Verb: "third"}}, list...)
		case 4:
			over()
		}
		answer(list)(w, r)
	}), "model", "events", "m", "-f", "-o", "json")
	if got := strings.Count(out, "\n"); got != 3 || strings.Index(out, "second") < strings.Index(out, "first") || strings.Index(out, "third") < strings.Index(out, "second") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
}

// TestModelEvents_followRefused: what the server refuses ends the command with its own words.
func TestModelEvents_followRefused(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]int{
		`{"error":{"code":"not_found","message":"there is no model with the uid m"}}`: 3,
		`{"error":{"code":"too_many_requests","message":"end some"}}`:                 1,
	} {
		code, out, errs := terminal(t.Context(), t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(map[int]int{3: 404, 1: 429}[want])
			_, _ = io.WriteString(w, body)
		}), "model", "events", "m", "-f")
		if code != want || out != "" || errs == "" {
			t.Errorf("exit %d, %q, %q", code, out, errs)
		}
	}
	if code, _, errs := terminal(t.Context(), t, http.NotFoundHandler(), "model", "events", "../keys", "-f"); code == 0 || !strings.Contains(errs, "not the uid") {
		t.Errorf("exit %d, %q", code, errs)
	}
}
