package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// How a stream goes on after what was written.
const (
	closes = "closes" // the answer ends in good order
	breaks = "breaks" // the connection breaks
	hangs  = "hangs"  // nothing more comes
)

// streams answers with text, flushed, and then does what end says.
func streams(text, end string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush()
		switch end {
		case breaks:
			panic(http.ErrAbortHandler)
		case hangs:
			<-r.Context().Done()
		}
	}
}

// code is how a test names an error.
func code(err error) string {
	e, ok := api.AsError(err)
	switch {
	case err == nil:
		return ""
	case ok:
		return string(e.Code)
	case errors.Is(err, client.ErrStreamEnded):
		return "ended"
	}
	return err.Error()
}

func TestWatchModel(t *testing.T) {
	const one = "event: model\nid: 1\ndata: {\"model_uid\":\"m\",\"state\":\"starting\"}\n\n"
	const two = "event: model\nid: 2\ndata: {\"model_uid\":\"m\",\"state\":\"running\"}\n\n"
	tests := []struct {
		name, text, end string
		states          []api.ModelState
		err             string
	}{
		{"changes", one + two, closes, []api.ModelState{"starting", "running"}, "ended"},
		{"deleted", one + "event: deleted\ndata: {\"model_uid\":\"m\"}\n\n" + two, hangs, []api.ModelState{"starting"}, "not_found"},
		{"signs of life", ": still here\n\n" + one + ": still here\n\n: still here\n\n" + two, closes, []api.ModelState{"starting", "running"}, "ended"},
		{"events of a later version", "event: synced\ndata: {}\n\ndata: x\n\n" + one + "retry: 5\n\n", closes, []api.ModelState{"starting"}, "ended"},
		{"closed at once", "", closes, nil, "ended"},
		{"closed within an event", one + "event: model\ndata: {\"model_uid\"", closes, []api.ModelState{"starting"}, "ended"},
		{"an event whose end is missing", "event: model\ndata: {\"model_uid\":\"m\"}\n", closes, nil, "ended"},
		{"broken", one, breaks, []api.ModelState{"starting"}, "unavailable"},
		{"broken within an event", one + "event: model\nda", breaks, []api.ModelState{"starting"}, "unavailable"},
		{"an event that cannot be read", one + "event: model\ndata: {\"state\":7}\n\n" + two, hangs, []api.ModelState{"starting"}, "upstream_error"},
		{"an endless event", "event: model\ndata: \"" + strings.Repeat("x", 9<<20) + "\"\n\n", hangs, nil, "unavailable"},
		{"other line ends", strings.ReplaceAll(one+two, "\n", "\r\n"), closes, []api.ModelState{"starting", "running"}, "ended"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if got := wire(t, r) + " " + r.Header.Get("Accept"); got != "GET /api/v2/models/m?watch=1 text/event-stream" {
					t.Error(got)
				}
				streams(tt.text, tt.end)(w, r)
			})
			var states []api.ModelState
			var last error
			for d, err := range c.WatchModel(t.Context(), "m") {
				if last != nil {
					t.Errorf("something follows the error %v", last)
				}
				if last = err; err == nil {
					states = append(states, d.State)
				}
			}
			if d := cmp.Diff(tt.states, states); d != "" {
				t.Errorf("states: -want +got:\n%s", d)
			}
			if got := code(last); got != tt.err {
				t.Errorf("it ends with %q (%.200v), want %q", got, last, tt.err)
			}
		})
	}
}

func TestWatchModel_passesOnARefusal(t *testing.T) {
	c := serve(t, answer(http.StatusNotFound, `{"error":{"code":"not_found","message":"there is no model m"}}`))
	n := 0
	for d, err := range c.WatchModel(t.Context(), "m") {
		if n++; !api.HasCode(err, api.CodeNotFound) || d.ModelUID != "" {
			t.Errorf("%v, %v", d, err)
		}
	}
	if n != 1 {
		t.Errorf("%d values, want one error", n)
	}
}

func TestStreams_endWithTheContext(t *testing.T) {
	for name, run := range map[string]func(context.Context, *client.Client) error{
		"watch": func(ctx context.Context, c *client.Client) (last error) {
			for _, err := range c.WatchModel(ctx, "m") {
				last = err
			}
			return last
		},
		"chat": func(ctx context.Context, c *client.Client) (last error) {
			for _, err := range c.Chat(ctx, client.ChatRequest{}) {
				last = err
			}
			return last
		},
	} {
		c := serve(t, streams(": hello\n\n", hangs))
		cancelled, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if err := run(cancelled, c); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: cancel: %v", name, err)
		}
		short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := run(short, c); !api.HasCode(err, api.CodeTimeout) {
			t.Errorf("%s: deadline: %v", name, err)
		}
		stop()
	}
}

// A caller that has read enough must not keep an engine busy.
func TestStreams_hangUpWhenTheCallerStops(t *testing.T) {
	left := make(chan struct{})
	text := "event: model\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		streams(text, hangs)(w, r)
		left <- struct{}{}
	})
	for _, err := range c.Chat(t.Context(), client.ChatRequest{}) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	<-left
	for _, err := range c.WatchModel(t.Context(), "m") {
		if err != nil {
			t.Error(err)
		}
		break
	}
	<-left
}

func chunk(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%s},\"finish_reason\":null}]}\n\n", b)
}

func TestChat(t *testing.T) {
	const done = "data: [DONE]\n\n"
	first := "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n"
	last := "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n"
	tests := []struct {
		name, text, end string
		pieces          []string
		err             string
	}{
		{"an answer", first + chunk("Hel") + chunk("lo 🌌\n") + last + done, hangs, []string{"Hel", "lo 🌌\n"}, ""},
		{"no answer", first + last + done, closes, nil, ""},
		{"null for an error", strings.Replace(chunk("a"), "{", `{"error":null,`, 1) + done, closes, []string{"a"}, ""},
		{"without its end", first + chunk("Hel"), closes, []string{"Hel"}, "ended"},
		{"finished, but without its end", chunk("Hel") + last, closes, []string{"Hel"}, "ended"},
		{"not a stream", `{"choices":[{"message":{"content":"Hello"}}]}`, closes, nil, "ended"},
		{"broken", chunk("Hel"), breaks, []string{"Hel"}, "unavailable"},
		{
			"an error in the stream", chunk("Hel") + `data: {"error":{"message":"the engine died","type":"server_error","param":null,"code":"upstream_error"}}` + "\n\n" + done,
			hangs,
			[]string{"Hel"},
			"upstream_error",
		},
		{"an engine's error", `data: {"error":{"code":500,"message":"the engine died"}}` + "\n\n", hangs, nil, "upstream_error"},
		{"an error's text", `data: {"error":"the engine died"}` + "\n\n", hangs, nil, "upstream_error"},
		{"what is not JSON", chunk("a") + "data: <html>\n\n" + chunk("b") + done, hangs, []string{"a"}, "upstream_error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var sent string
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				sent = wire(t, r)
				streams(tt.text, tt.end)(w, r)
			})
			var pieces []string
			var failure error
			for piece, err := range c.Chat(t.Context(), client.ChatRequest{Model: "m", Messages: []client.Message{{Role: "user", Content: "Hi"}}}) {
				if failure != nil {
					t.Errorf("something follows the error %v", failure)
				}
				if failure = err; err == nil {
					pieces = append(pieces, piece)
				}
			}
			if want := `POST /v1/chat/completions {"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}`; sent != want {
				t.Errorf("sent %s, want %s", sent, want)
			}
			if d := cmp.Diff(tt.pieces, pieces); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			if got := code(failure); got != tt.err {
				t.Errorf("it ends with %q (%v), want %q", got, failure, tt.err)
			}
			if strings.Contains(tt.text, "the engine died") && !strings.Contains(fmt.Sprint(failure), "the engine died") {
				t.Errorf("the reason is lost: %v", failure)
			}
		})
	}
}

func TestChat_passesOnARefusal(t *testing.T) {
	c := serve(t, answer(http.StatusNotFound,
		`{"error":{"message":"there is no model x; there are: a, b","type":"invalid_request_error","param":"model","code":"model_not_found"}}`))
	for piece, err := range c.Chat(t.Context(), client.ChatRequest{Model: "x"}) {
		if e, ok := api.AsError(err); !ok || e.Code != api.CodeNotFound || !strings.Contains(e.Message, "a, b") || piece != "" {
			t.Errorf("%q, %v", piece, err)
		}
	}
}

func TestWatchModelEvents(t *testing.T) {
	event := func(id, verb string) string {
		return "event: event\n" + id + "data: {\"id\":\"" + verb + "\",\"verb\":\"" + verb + "\"}\n\n"
	}
	const synced = "event: synced\nid: 9\ndata: {}\n\n"
	tests := []struct {
		name, text, end string
		want            []string
		err             string
	}{
		{"what is and what comes", event("", "a") + event("id: 7\n", "b") + synced + "id: 11\n: still here\n\n" + event("id: 12\n", "c"), closes, []string{"a@0", "b@7", "synced@9", "c@12"}, "ended"},
		{"deleted", synced + "event: deleted\nid: 9\ndata: {}\n\n" + event("", "a"), hangs, []string{"synced@9"}, "not_found"},
		{"the store went back", event("id: 7\n", "a") + "event: reset\nid\ndata: {}\n\n" + event("", "b") + synced, breaks, []string{"a@7", "b@0", "synced@9"}, "unavailable"},
		{"a later version", "event: news\ndata: x\n\n" + synced, closes, []string{"synced@9"}, "ended"},
		{"what cannot be read", "event: event\ndata: {\"id\":7}\n\n", hangs, nil, "upstream_error"},
		{"without an id", "event: event\ndata: {}\n\n", hangs, nil, "upstream_error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if got := wire(t, r); got != "GET /api/v2/models/m/events?watch=1&since=5" {
					t.Errorf("%q", got)
				}
				streams(tt.text, tt.end)(w, r)
			})
			var got []string
			var last error
			for e, err := range c.WatchModelEvents(t.Context(), "m", 5) {
				switch last = err; {
				case err != nil:
				case e.Synced:
					got = append(got, fmt.Sprintf("synced@%d", e.Revision))
				default:
					got = append(got, fmt.Sprintf("%s@%d", e.Verb, e.Revision))
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" || code(last) != tt.err {
				t.Errorf("%s\nit ends with %v, want %s", d, last, tt.err)
			}
		})
	}
	older := serve(t, answer(http.StatusOK, `[{"id":"1","verb":"model.create"}]`))
	for e, err := range older.WatchModelEvents(t.Context(), "m", 0) {
		if !errors.Is(err, client.ErrNotWatched) {
			t.Errorf("of an older server: %v, %v", e, err)
		}
	}
	for _, err := range older.WatchModelEvents(t.Context(), "../keys", 0) {
		if code(err) != string(api.CodeInvalidUID) {
			t.Errorf("of no uid: %v", err)
		}
	}
}
