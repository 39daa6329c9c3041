package client_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// TestWatchModelList: the list is told when it is whole, and again at every change, over a connection that breaks, too.
func TestWatchModelList(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") != "1" || r.URL.Query().Get("label") != "a=b" {
			t.Errorf("asked for %s", r.URL)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		events := []string{"model b", "model a", "synced", "model c"}
		if r.Header.Get("Last-Event-ID") == "7" { // the second connection goes on where the first one was
			events = []string{"deleted b", "of_tomorrow x", "reset", "model z", "synced"}
		}
		for _, e := range events {
			name, uid, _ := strings.Cut(e, " ")
			fmt.Fprintf(w, "event: %s\nid: 7\ndata: {\"model_uid\":%q}\n\n", name, uid)
		}
	}))
	defer server.Close()
	var got []string
	for list, err := range client.New(server.URL, "t").WatchModelList(t.Context(), client.ListOptions{Label: "a=b"}) {
		if err != nil {
			t.Fatal(err)
		}
		uids := ""
		for _, m := range list {
			uids += m.ModelUID
		}
		if got = append(got, uids); uids == "z" {
			break
		}
	}
	if text := strings.Join(got, " "); text != "ab abc ac z" {
		t.Errorf("%q", text)
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
