package httpapi

import (
	"context"
	"io"
	"net/http"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
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
	verb := func(do func(StoreAdmin, context.Context) error) func(http.ResponseWriter, *http.Request) error {
		return func(w http.ResponseWriter, r *http.Request) error { return s.storeVerb(w, r, do) }
	}
	nothing := func(StoreAdmin, context.Context) error { return nil }
	return []Route{
		{"GET", "/api/v2/admin/backup", auth.Admin, "A backup of the store", nil, nil, 200, false, s.backup},
		{"GET", store, auth.Admin, "Condition of the store", nil, api.StoreStatus{}, 200, false, verb(nothing)},
		{"POST", store + "/compact", auth.Admin, "Forget the store's history", nil, api.StoreStatus{}, 200, false, verb(StoreAdmin.Compact)},
		{"POST", store + "/defragment", auth.Admin, "Give the store's free space back", nil, api.StoreStatus{}, 200, false, verb(StoreAdmin.Defragment)},
		{"POST", store + "/disarm", auth.Admin, "Take back the alarm that the store is full", nil, api.StoreStatus{}, 200, false, verb(StoreAdmin.Disarm)},
		{"POST", store + "/reclaim", auth.Admin, "Compact, defragment, and take back the alarm", nil, api.StoreStatus{}, 200, false, verb(StoreAdmin.Reclaim)},
	}
}

func (s *server) storeAdmin() (StoreAdmin, error) {
	if s.Store == nil {
		return nil, api.Errorf(api.CodeUnavailable, "this server does not look after the store: ask another one of the cluster")
	}
	return s.Store, nil
}

// storeVerb does something to the store and answers with its condition.
func (s *server) storeVerb(w http.ResponseWriter, r *http.Request, do func(StoreAdmin, context.Context) error) error {
	store, err := s.storeAdmin()
	if err != nil {
		return err
	}
	if err := do(store, r.Context()); err != nil {
		return err
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
