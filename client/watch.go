package client

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"mime"
	"net/http"

	"github.com/tmaxmax/go-sse"

	"github.com/nebula-serve/nebula/api"
)

// maxEvent bounds one event of a stream.
const maxEvent = 8 << 20

// ErrStreamEnded ends a stream that the server closed before everything was said.
var ErrStreamEnded = errors.New("the server ended the stream early")

// WatchModel yields the model's detail now and at every change. It ends with an error: ctx is over, the model was deleted (an api.Error
// with CodeNotFound), the server closed the stream (ErrStreamEnded) or the connection broke (CodeUnavailable). After the last two, watch again.
func (c *Client) WatchModel(ctx context.Context, uid string) iter.Seq2[api.ModelDetail, error] {
	return func(yield func(api.ModelDetail, error) bool) {
		path, err := modelPath(uid, "?watch=1")
		if err != nil {
			yield(api.ModelDetail{}, err)
			return
		}
		for e, err := range c.stream(ctx, http.MethodGet, path, nil) {
			var d api.ModelDetail
			switch {
			case err != nil:
			case e.Type == "deleted":
				err = api.Errorf(api.CodeNotFound, "the model %q was deleted", uid)
			case e.Type != "model":
				continue
			default:
				if json.Unmarshal([]byte(e.Data), &d) != nil {
					err = api.Errorf(api.CodeUpstream, "the server at %s sent an event that cannot be read", c.shown)
				}
			}
			if !yield(d, err) || err != nil {
				return
			}
		}
	}
}

// stream yields the server-sent events of an answer, and last an error that says why there are no more.
func (c *Client) stream(ctx context.Context, method, path string, req any) iter.Seq2[sse.Event, error] {
	return c.streamWith(ctx, method, path, http.Header{}, req)
}

// streamWith is stream with headers of the caller's.
func (c *Client) streamWith(ctx context.Context, method, path string, h http.Header, req any) iter.Seq2[sse.Event, error] {
	return func(yield func(sse.Event, error) bool) {
		h.Set("Accept", "text/event-stream")
		res, err := c.Do(ctx, method, path, h, req)
		if err != nil {
			yield(sse.Event{}, err)
			return
		}
		defer func() { _ = res.Body.Close() }()
		if media, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); method == http.MethodGet && (err != nil || media != "text/event-stream") {
			yield(sse.Event{}, ErrNotWatched) // it has answered, and does not stay
			return
		}
		for e, err := range sse.Read(res.Body, &sse.ReadConfig{MaxEventSize: maxEvent}) {
			if err != nil {
				yield(sse.Event{}, c.broken(ctx, err))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
		yield(sse.Event{}, ErrStreamEnded)
	}
}
