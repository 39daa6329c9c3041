package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// TestWatchModelList: the list is told when it is whole, and again at every change.
func TestWatchModelList(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") != "1" || r.URL.Query().Get("label") != "a=b" {
			t.Errorf("asked for %s", r.URL)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range []string{"model b", "model a", "synced", "model c", "deleted b", "of_tomorrow x", "reset", "model z", "synced"} {
			name, uid, _ := strings.Cut(e, " ")
			fmt.Fprintf(w, "event: %s\nid: 7\ndata: {\"model_uid\":%q}\n\n", name, uid)
		}
	}))
	defer server.Close()
	var got []string
	var last error
	for list, err := range client.New(server.URL, "t").WatchModelList(t.Context(), client.ListOptions{Label: "a=b"}) {
		if last = err; err != nil {
			break
		}
		uids := ""
		for _, m := range list {
			uids += m.ModelUID
		}
		got = append(got, uids)
	}
	if text := strings.Join(got, " "); text != "ab abc ac z" || !errors.Is(last, client.ErrStreamEnded) {
		t.Errorf("%q, %v", text, last)
	}
}

// TestWatchModelList_refusesNonsense: an event that cannot be read ends the watch.
func TestWatchModelList_refusesNonsense(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"{", "[]", `{"model_uid":7}`, "{}"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "event: model\ndata: %s\n\n", data)
		}))
		for _, err := range client.New(server.URL, "t").WatchModelList(t.Context(), client.ListOptions{}) {
			if !api.HasCode(err, api.CodeUpstream) {
				t.Errorf("%s: %v", data, err)
			}
		}
		server.Close()
	}
}
