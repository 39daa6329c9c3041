package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
)

// StoreAdmin looks after the store underneath. Its errors for people are *api.Error.
type StoreAdmin interface {
	Status(context.Context) (api.StoreStatus, error)
	Backup(ctx context.Context, to io.Writer) error
	// Compact forgets the history, Defragment gives free space back to the disks, Disarm takes back the alarm that the store is full, and
	// Reclaim does all three. Each is followed by the new status.
	Compact(context.Context) error
	Defragment(context.Context) error
	Disarm(context.Context) error
	Reclaim(context.Context) error
}

// adminRoutes are the rows about the store.
func (s *server) adminRoutes() []Route {
	const store = "/api/v2/admin/store"
	verb := func(name string, do func(StoreAdmin, context.Context) error) func(http.ResponseWriter, *http.Request) error {
		return func(w http.ResponseWriter, r *http.Request) error { return s.storeVerb(w, r, name, do) }
	}
	nothing := func(StoreAdmin, context.Context) error { return nil }
	return []Route{
		{Method: "GET", Path: "/api/v2/admin/backup", Role: auth.Admin, Summary: "A backup of the store", Errors: []api.Code{api.CodeConflict, api.CodeTimeout}, Media: "application/octet-stream", Handle: s.backup},
		{Method: "GET", Path: store, Role: auth.Admin, Summary: "Condition of the store", Response: api.StoreStatus{}, Handle: verb("", nothing)},
		{Method: "POST", Path: store + "/compact", Role: auth.Admin, Summary: "Forget the store's history", Response: api.StoreStatus{}, Handle: verb("store.compact", StoreAdmin.Compact)},
		{Method: "POST", Path: store + "/defragment", Role: auth.Admin, Summary: "Give the store's free space back", Response: api.StoreStatus{}, Handle: verb("store.defragment", StoreAdmin.Defragment)},
		{Method: "POST", Path: store + "/disarm", Role: auth.Admin, Summary: "Take back the alarm that the store is full", Response: api.StoreStatus{}, Handle: verb("store.disarm", StoreAdmin.Disarm)},
		{Method: "POST", Path: store + "/reclaim", Role: auth.Admin, Summary: "Compact, defragment, and take back the alarm", Response: api.StoreStatus{}, Handle: verb("store.reclaim", StoreAdmin.Reclaim)},
	}
}

func (s *server) storeAdmin() (StoreAdmin, error) {
	if s.Store == nil {
		return nil, api.Errorf(api.CodeUnavailable, "this server does not look after the store: ask another one of the cluster")
	}
	return s.Store, nil
}

// storeVerb does something to the store and answers with its condition. It is recorded first, but for one case: a full store takes no record, and this
// is the way out of that, so then it is recorded as soon as it has helped.
func (s *server) storeVerb(w http.ResponseWriter, r *http.Request, name string, do func(StoreAdmin, context.Context) error) error {
	store, err := s.storeAdmin()
	if err != nil {
		return err
	}
	full := false
	if name != "" {
		err := s.record(r, name, "cluster/store")
		if full = errors.Is(err, control.ErrFull); err != nil && !full {
			return err
		}
	}
	if err := do(store, r.Context()); err != nil {
		return err
	}
	if full {
		if err := s.record(r, name, "cluster/store"); err != nil {
			s.Log.Warn("not in the audit log, because the store is full", "verb", name, "by", caller(r), "request_id", idOf(r), "error", err)
		}
	}
	status, err := store.Status(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, status)
	return nil
}

// backup streams. An error after the first byte cuts the connection, so that nobody takes a part for the whole.
func (s *server) backup(w http.ResponseWriter, r *http.Request) error {
	store, err := s.storeAdmin()
	if err != nil {
		return err
	}
	if err := s.record(r, "store.backup", "cluster/store"); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := &countingWriter{to: w}
	if err = store.Backup(r.Context(), out); err == nil {
		return nil
	}
	if out.bytes == 0 {
		return err
	}
	s.Log.Error("backup broke off", "request_id", idOf(r), "bytes", out.bytes, "error", err)
	panic(http.ErrAbortHandler)
}

type countingWriter struct {
	to    io.Writer
	bytes int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.bytes += int64(n)
	return n, err
}
