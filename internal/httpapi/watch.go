package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// An event stream is quiet for at most this long, and a slow caller is dropped when one event takes longer.
const (
	keepAliveEvery = 15 * time.Second
	writeTimeout   = 10 * time.Second
	// settleEvery bounds how often a state that depends on the clock alone is looked at again.
	settleEvery = 5 * time.Second
)

// events writes server-sent events.
type events struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func startEvents(w http.ResponseWriter) *events {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	e := &events{w, http.NewResponseController(w)}
	_ = e.rc.Flush() // fails only where nothing can be streamed; the first send then says so
	return e
}

// send writes one event; an error means that the caller has left.
func (e *events) send(name string, id int64, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	return e.write(fmt.Sprintf("event: %s\nid: %d\ndata: %s\n\n", name, id, b))
}

func (e *events) comment() error { return e.write(": still here\n\n") }

func (e *events) write(s string) error {
	_ = e.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // where deadlines are not supported the connection has its own
	if _, err := e.w.Write([]byte(s)); err != nil {
		return err
	}
	return e.rc.Flush()
}

// watchModels sends every model that matches, then "synced", then each change: "model" with the whole view, "deleted" when a model is gone or does
// not match any more. Views, not changes, are sent, so a lost event does no harm.
func (s *server) watchModels(w http.ResponseWriter, r *http.Request, filter cluster.Filter) error {
	sent := map[string][]byte{}
	synced := false
	return s.watch(w, r, func(e *events, st *cluster.State) error {
		views, _ := cluster.Views(st, s.Now(), filter)
		seen := make(map[string]bool, len(views))
		for _, v := range views {
			seen[v.ModelUID] = true
			b, err := json.Marshal(v)
			if err != nil {
				return fmt.Errorf("encode model: %w", err)
			}
			if string(sent[v.ModelUID]) == string(b) {
				continue
			}
			sent[v.ModelUID] = b
			if err := e.send("model", st.Revision, json.RawMessage(b)); err != nil {
				return err
			}
		}
		for uid := range sent {
			if !seen[uid] {
				delete(sent, uid)
				if err := e.send("deleted", st.Revision, map[string]string{"model_uid": uid}); err != nil {
					return err
				}
			}
		}
		if !synced {
			synced = true
			return e.send("synced", st.Revision, struct{}{})
		}
		return nil
	})
}

// watchModel sends the detail of one model whenever it changes, and ends after "deleted".
func (s *server) watchModel(w http.ResponseWriter, r *http.Request, uid string) error {
	var last []byte
	return s.watch(w, r, func(e *events, st *cluster.State) error {
		detail, ok := cluster.Detail(st, uid, s.Now())
		if !ok {
			if err := e.send("deleted", st.Revision, map[string]string{"model_uid": uid}); err != nil {
				return err
			}
			return errWatchOver
		}
		b, err := json.Marshal(detail)
		if err != nil {
			return fmt.Errorf("encode model: %w", err)
		}
		if string(b) == string(last) {
			return nil
		}
		last = b
		return e.send("model", st.Revision, json.RawMessage(b))
	})
}

// watchPulls sends the whole list of pulls whenever it changes: it is short, and nothing is lost with a lost event.
func (s *server) watchPulls(w http.ResponseWriter, r *http.Request, node string) error {
	var last []byte
	return s.watch(w, r, func(e *events, st *cluster.State) error {
		b, err := json.Marshal(cluster.Pulls(st, node))
		if err != nil {
			return fmt.Errorf("encode pulls: %w", err)
		}
		if string(b) == string(last) {
			return nil
		}
		last = b
		return e.send("pulls", st.Revision, json.RawMessage(b))
	})
}

// errWatchOver ends a watch from inside.
var errWatchOver = &api.Error{Code: api.CodeNotFound, Message: "the watched object is gone"}

// watch calls show with the newest state, again whenever it changes, until the caller leaves.
func (s *server) watch(w http.ResponseWriter, r *http.Request, show func(*events, *cluster.State) error) error {
	e := startEvents(w)
	defer func() { _ = e.rc.SetWriteDeadline(time.Time{}) }() // the connection may carry the caller's next, longer answer
	quiet := time.NewTicker(keepAliveEvery)
	defer quiet.Stop()
	settle := time.NewTicker(settleEvery)
	defer settle.Stop()
	for {
		st, changed := s.View.Current()
		if err := show(e, st); err != nil {
			return nil // the answer has begun; the caller sees its end
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-s.Closing:
			return nil
		case <-changed:
		case <-settle.C:
		case <-quiet.C:
			if err := e.comment(); err != nil {
				return nil
			}
		}
	}
}
