package client

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// ModelEvent is one event of a watch of models.
type ModelEvent struct {
	Kind ModelEventKind
	UID  string        // of the model; empty for Synced and Reset
	View api.ModelView // of Changed
}

// ModelEventKind says what an event is about.
type ModelEventKind string

// The kinds of events. Reset says that what was told before is void: every model that matches follows, and then Synced.
const (
	ModelChanged ModelEventKind = "model"
	ModelDeleted ModelEventKind = "deleted" // or it does not match any more
	ModelsSynced ModelEventKind = "synced"  // everything has been told
	ModelsReset  ModelEventKind = "reset"
)

// The pause before a watch that broke is resumed, and how often in a row that may come to nothing.
const (
	resumeFirst = 100 * time.Millisecond
	resumeLast  = 5 * time.Second
	resumeTries = 8
)

// WatchModels yields every model that matches, then ModelsSynced, then each change. When the connection breaks, or the server ends, it goes on by itself
// where it was: this is the one call that tries again. It ends with an error when ctx is over, the server refuses, or no server answers for about half a
// minute. Limit and Cursor of the options mean nothing here.
func (c *Client) WatchModels(ctx context.Context, o ListOptions) iter.Seq2[ModelEvent, error] {
	return func(yield func(ModelEvent, error) bool) {
		o.Limit, o.Cursor = 0, ""
		path := modelsPath(o, url.Values{"watch": {"1"}})
		last, tries := "", 0 // the id to resume from
		for first := true; ; first = false {
			if !first && last == "" && !yield(ModelEvent{Kind: ModelsReset}, nil) {
				return
			}
			err := c.hearModels(ctx, path, &last, func(e ModelEvent) bool {
				tries = 0
				return yield(e, nil)
			})
			if err == nil {
				return // yield has had enough
			}
			if tries++; ctx.Err() != nil || tries > resumeTries || !errors.Is(err, ErrStreamEnded) && !api.HasCode(err, api.CodeUnavailable) {
				yield(ModelEvent{}, err)
				return
			}
			pause(ctx, min(resumeFirst<<(tries-1), resumeLast))
		}
	}
}

// hearModels follows one connection and keeps the id of the last event; nil means that hear returned false.
func (c *Client) hearModels(ctx context.Context, path string, last *string, hear func(ModelEvent) bool) error {
	h := http.Header{}
	if *last != "" {
		h.Set("Last-Event-ID", *last)
	}
	for e, err := range c.streamWith(ctx, http.MethodGet, path, h, nil) {
		if err != nil {
			return err
		}
		*last = e.LastEventID
		out := ModelEvent{Kind: ModelEventKind(e.Type)}
		switch out.Kind {
		case ModelsSynced, ModelsReset:
		case ModelChanged, ModelDeleted:
			if json.Unmarshal([]byte(e.Data), &out.View) != nil || out.View.ModelUID == "" {
				return api.Errorf(api.CodeUpstream, "the server at %s sent an event that cannot be read", c.shown)
			}
			out.UID = out.View.ModelUID
		default:
			continue // of a later version
		}
		if !hear(out) {
			return nil
		}
	}
	return ErrStreamEnded
}

// AllModels yields every model that matches, a page of o.Limit (0: 500) at a time.
func (c *Client) AllModels(ctx context.Context, o ListOptions) iter.Seq2[api.ModelView, error] {
	return func(yield func(api.ModelView, error) bool) {
		if o.Limit == 0 {
			o.Limit = 500
		}
		for {
			page, next, err := c.Models(ctx, o)
			if err != nil {
				yield(api.ModelView{}, err)
				return
			}
			for _, m := range page {
				if !yield(m, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			o.Cursor = next
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
