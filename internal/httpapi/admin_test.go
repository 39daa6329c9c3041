package httpapi_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// storeAdmin notes what is asked of it.
type storeAdmin struct {
	asked  []string
	backup func(io.Writer) error
	err    error
}

func (a *storeAdmin) note(what string) error { a.asked = append(a.asked, what); return a.err }

func (a *storeAdmin) Status(context.Context) (api.StoreStatus, error) {
	return api.StoreStatus{Revision: 7}, a.note("status")
}
func (a *storeAdmin) Backup(_ context.Context, to io.Writer) error { return a.backup(to) }
func (a *storeAdmin) Compact(context.Context) error                { return a.note("compact") }
func (a *storeAdmin) Defragment(context.Context) error             { return a.note("defragment") }
func (a *storeAdmin) Disarm(context.Context) error                 { return a.note("disarm") }
func (a *storeAdmin) Reclaim(context.Context) error                { return a.note("reclaim") }

func adminServer(t *testing.T, admin httpapi.StoreAdmin) *client.Client {
	t.Helper()
	s := serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) { cfg.Store = admin })
	return client.New(s.URL, secrets[auth.Admin])
}

func TestAdmin_store(t *testing.T) {
	a := &storeAdmin{}
	c := adminServer(t, a)
	for _, do := range []func(*client.Client, context.Context) (api.StoreStatus, error){
		(*client.Client).StoreStatus, (*client.Client).CompactStore, (*client.Client).DefragmentStore, (*client.Client).DisarmStore, (*client.Client).ReclaimStore,
	} {
		if s, err := do(c, t.Context()); err != nil || s.Revision != 7 {
			t.Errorf("got %+v, %v", s, err)
		}
	}
	if want := []string{"status", "compact", "status", "defragment", "status", "disarm", "status", "reclaim", "status"}; !slices.Equal(a.asked, want) {
		t.Errorf("asked %v, want %v", a.asked, want)
	}
	a.err = api.Errorf(api.CodeUnavailable, "the store is still full")
	if _, err := c.ReclaimStore(t.Context()); !api.HasCode(err, api.CodeUnavailable) || !strings.Contains(err.Error(), "still full") {
		t.Errorf("got %v", err)
	}
}

func TestAdmin_needsTheRole(t *testing.T) {
	a := &storeAdmin{}
	c := client.New(adminServer(t, a).Base(), secrets[auth.Operator])
	if _, err := c.StoreStatus(t.Context()); !api.HasCode(err, api.CodeForbidden) {
		t.Errorf("got %v", err)
	}
	if err := c.Backup(t.Context(), io.Discard); !api.HasCode(err, api.CodeForbidden) || len(a.asked) != 0 {
		t.Errorf("got %v", err)
	}
}

func TestAdmin_noStore(t *testing.T) {
	c := adminServer(t, nil)
	if _, err := c.StoreStatus(t.Context()); !api.HasCode(err, api.CodeUnavailable) || !strings.Contains(err.Error(), "another") {
		t.Errorf("got %v", err)
	}
	if err := c.Backup(t.Context(), io.Discard); !api.HasCode(err, api.CodeUnavailable) {
		t.Errorf("got %v", err)
	}
}

// TestAdmin_backup: a backup that breaks off must not look like a whole one.
func TestAdmin_backup(t *testing.T) {
	a := &storeAdmin{}
	c := adminServer(t, a)
	broke := errors.New("the store broke off")
	for name, b := range map[string]struct {
		backup func(io.Writer) error
		code   api.Code
	}{
		"whole":         {func(w io.Writer) error { _, err := io.WriteString(w, "all of it"); return err }, ""},
		"fails at once": {func(io.Writer) error { return api.Errorf(api.CodeUnavailable, "no store") }, api.CodeUnavailable},
		"fails later": {func(w io.Writer) error {
			_, _ = w.Write(make([]byte, 1<<20))
			return broke
		}, api.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			a.backup = b.backup
			var out strings.Builder
			err := c.Backup(t.Context(), &out)
			if b.code == "" {
				if err != nil || out.String() != "all of it" {
					t.Errorf("got %q, %v", out.String(), err)
				}
			} else if !api.HasCode(err, b.code) {
				t.Errorf("got %v", err)
			}
		})
	}
}
