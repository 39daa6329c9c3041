package nodeapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// maxAsk bounds the body of a question about the cache, in bytes.
const maxAsk = 16 << 10

// change has this node's files changed, as a server asked for people.
func change[T any](w http.ResponseWriter, r *http.Request, do func(context.Context, T) (api.CachePruned, error)) {
	var req T
	if do == nil {
		refuse(w, noCache())
		return
	}
	if !ask(w, r, &req) {
		return
	}
	out, err := do(r.Context(), req)
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out) // the caller may have left
}

// verify reads this node's files and tells how it goes, an event on each line, until the end or until the caller leaves.
func (a *API) verify(w http.ResponseWriter, r *http.Request) {
	var req api.CacheVerify
	if a.cfg.Verify == nil {
		refuse(w, noCache())
		return
	}
	if !ask(w, r, &req) {
		return
	}
	rc := http.NewResponseController(w)
	begun := false
	tell := func(e api.VerifyEvent) error {
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "application/x-ndjson")
		}
		_ = rc.SetWriteDeadline(time.Now().Add(a.cfg.CallerWrite))
		if err := json.NewEncoder(w).Encode(e); err != nil {
			return err
		}
		return rc.Flush()
	}
	err := a.cfg.Verify(r.Context(), req, tell)
	switch {
	case err == nil || r.Context().Err() != nil:
	case !begun:
		refuse(w, err)
	default:
		_ = tell(api.VerifyEvent{Type: api.VerifyFailed, Error: asAPI(err)}) // the caller may have left
	}
}

// ask reads a question; false: it was answered with what is wrong with it.
func ask(w http.ResponseWriter, r *http.Request, v any) bool {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAsk))
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		refuse(w, api.Errorf(api.CodeInvalidRequest, "the body cannot be read: %s", err))
	}
	return err == nil
}

func noCache() error { return api.Errorf(api.CodeNotFound, "this node has no cache to look after") }
