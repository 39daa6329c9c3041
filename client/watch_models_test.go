package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// TestWatchModels_goesOnByItself: over a broken connection and an ended one the events are those of one stream, each answer asked for from where the one
// before had told everything.
func TestWatchModels_goesOnByItself(t *testing.T) {
	model := func(id, uid string) string {
		return "event: model\n" + id + "data: {\"model_uid\":\"" + uid + "\"}\n\n"
	}
	const synced = "event: synced\nid: %d\ndata: {}\n\n"
	answers := []struct{ text, end, since string }{
		{text: model("", "a") + fmt.Sprintf(synced, 5), end: breaks},
		{text: model("id: 7\n", "b") + "id: 9\n: still here\n\n", end: closes, since: "5"},
		{text: "event: deleted\nid\ndata: {\"model_uid\":\"a\"}\n\n", end: breaks, since: "9"}, // in the middle of a batch
		{text: model("", "b") + "event: news\ndata: {}\n\n" + fmt.Sprintf(synced, 12), end: closes},
		{text: "event: reset\nid\ndata: {}\n\n", end: hangs, since: "12"},
	}
	var since []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := len(since)
		since = append(since, r.Header.Get("Last-Event-ID"))
		if r.URL.RawQuery != "label=team%3Dx&watch=1" {
			t.Errorf("asked for %s", r.URL)
		}
		streams(answers[min(n, len(answers)-1)].text, answers[min(n, len(answers)-1)].end)(w, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	for e, err := range c.WatchModels(ctx, client.ListOptions{Label: "team=x", Limit: 3}) {
		if err != nil {
			got = append(got, err.Error())
			continue
		}
		got = append(got, strings.TrimSpace(string(e.Kind)+" "+e.UID))
		if len(since) == len(answers) {
			cancel()
		}
	}
	want := []string{"model a", "synced", "model b", "deleted a", "reset", "model b", "synced", "reset", "context canceled"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for i, a := range answers {
		if since[i] != a.since {
			t.Errorf("call %d resumed from %q, want %q", i, since[i], a.since)
		}
	}
}

func TestWatchModels_endsWithARefusal(t *testing.T) {
	c := serve(t, answer(http.StatusForbidden, `{"error":{"code":"forbidden","message":"no"}}`))
	n := 0
	for _, err := range c.WatchModels(t.Context(), client.ListOptions{}) {
		if n++; !api.HasCode(err, api.CodeForbidden) {
			t.Error(err)
		}
	}
	if n != 1 {
		t.Errorf("%d values, want one error", n)
	}
}

func TestAllModels_walksThroughThePages(t *testing.T) {
	pages := map[string]string{"": `[{"model_uid":"a"},{"model_uid":"b"}]`, "2": `[{"model_uid":"c"}]`}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("limit") != "2" {
			t.Errorf("asked for %s", r.URL)
		}
		if r.URL.Query().Get("cursor") == "" {
			w.Header().Set("Nebula-Next-Cursor", "2")
		}
		_, _ = io.WriteString(w, pages[r.URL.Query().Get("cursor")])
	})
	var got []string
	for m, err := range c.AllModels(t.Context(), client.ListOptions{Limit: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, m.ModelUID)
	}
	if !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("got %v", got)
	}
}
