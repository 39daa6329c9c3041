package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// credential is one of a machine, as real ones are.
func credential(t *testing.T) *pki.Credential {
	t.Helper()
	fatal := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	ca, err := pki.NewCA("test", time.Now())
	fatal(err)
	key, err := pki.NewKey()
	fatal(err)
	csr, err := pki.Request(key)
	fatal(err)
	cert, err := ca.Issue(csr, pki.Identity{Cluster: "c", Role: api.MachineGateway, ID: "g1"}, nil, time.Now())
	fatal(err)
	c, err := pki.NewCredential("", key, cert.Raw, ca.Cert.Raw)
	fatal(err)
	return c
}

func snapshotOf(c *pki.Credential, path string) store.Snapshot {
	return store.Snapshot{Path: path, Sign: c.Sign, Verify: c.Verify, Wait: 10 * time.Millisecond, Every: time.Millisecond}
}

// away is a KV that does not answer until it is back.
type away struct {
	store.KV
	back chan struct{} // closed when it returns; nil: never
	err  error         // at once; nil: it keeps the caller waiting, until it returns
}

func (a *away) returns() { close(a.back) }

func (a *away) List(ctx context.Context, prefix string) ([]store.KeyValue, int64, error) {
	select {
	case <-a.back:
		return a.KV.List(ctx, prefix)
	default:
	}
	if a.err != nil {
		return nil, 0, a.err
	}
	select { // a call that was under way when the store returned is answered
	case <-a.back:
		return a.KV.List(ctx, prefix)
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
}

func awaitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func running(t *testing.T, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if err := run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); all.Wait() })
}

func write(t *testing.T, kv store.KV, key, value string) {
	t.Helper()
	if _, err := kv.Txn(t.Context(), nil, []store.Op{{Key: key, Value: []byte(value)}}); err != nil {
		t.Fatal(err)
	}
}

// kept returns a KV with some documents and the path of its snapshot.
func kept(t *testing.T, c *pki.Credential) (*storetest.MemKV, string, *cluster.State) {
	t.Helper()
	kv, path := storetest.NewMem(), filepath.Join(t.TempDir(), "state")
	t.Cleanup(func() { _ = kv.Close() })
	write(t, kv, "/models/m/spec", `{"model_uid":"m","model_name":"org/m","of_a_later_version":{"a":[1]}}`)
	write(t, kv, "/models/bad/spec", `{"model_uid":5}`)
	write(t, kv, "/endpoints/m/0", `{"model_uid":"m","replica_id":0,"node_id":"n1","status":"ready","base_url":"http://127.0.0.1:1","node_addr":"10.0.0.1:8083"}`)
	write(t, kv, "/join_tokens/t", `{"id":"t","secret_hash":"SECRET"}`)
	s, err := store.Open(t.Context(), kv, quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Keep(ctx, snapshotOf(c, path)); err != nil { // the last write of a process that ends
		t.Fatal(err)
	}
	state, _ := s.Current()
	return kv, path, state
}

func TestOpenSnapshot_beginsFromTheFile(t *testing.T) {
	c := credential(t)
	for name, down := range map[string]error{"silent": nil, "refused": store.ErrUnavailable} {
		t.Run(name, func(t *testing.T) {
			kv, path, before := kept(t, c)
			gone := &away{KV: kv, err: down, back: make(chan struct{})}
			s, err := store.OpenSnapshot(t.Context(), gone, quiet(), snapshotOf(c, path))
			if err != nil {
				t.Fatal(err)
			}
			got, _ := s.Current()
			var want, have []cluster.Entry[api.EndpointInfo]
			for e := range before.Endpoints.All() {
				want = append(want, e)
			}
			for e := range got.Endpoints.All() {
				have = append(have, e)
			}
			if diff := cmp.Diff(want, have); diff != "" || got.Revision != before.Revision {
				t.Errorf("at revision %d, want %d; endpoints -want +got:\n%s", got.Revision, before.Revision, diff)
			}
			if !got.Models.Has("m") || !got.Bad.Has("/models/bad/spec") || got.JoinTokens.Len() != 0 {
				t.Errorf("models %d, bad %d, join tokens %d", got.Models.Len(), got.Bad.Len(), got.JoinTokens.Len())
			}
			running(t, s.Run)
			gone.returns()
			awaitFor(t, "the list to take the snapshot's place", func() bool { st, _ := s.Current(); return st.JoinTokens.Has("t") })
			write(t, kv, "/models/new/spec", `{"model_uid":"new","model_name":"x"}`)
			awaitFor(t, "a document from the watch", func() bool { st, _ := s.Current(); return st.Models.Has("new") })
		})
	}
}

// The store's answer counts where there is one, also when its history went back.
func TestOpenSnapshot_prefersTheStore(t *testing.T) {
	c := credential(t)
	_, path, _ := kept(t, c)
	restored := storetest.NewMem()
	defer restored.Close()
	s, err := store.OpenSnapshot(t.Context(), restored, quiet(), snapshotOf(c, path))
	if err != nil {
		t.Fatal(err)
	}
	if st, _ := s.Current(); st.Models.Len() != 0 {
		t.Error("the snapshot is used although the store has answered")
	}
	no := api.Errorf(api.CodeForbidden, "this gateway has been removed")
	if _, err := store.OpenSnapshot(t.Context(), &away{err: no}, quiet(), snapshotOf(c, path)); !errors.Is(err, no) {
		t.Errorf("refused by the store, but got %v", err)
	}
}

func TestOpenSnapshot_ignoresWhatIsNotItsOwn(t *testing.T) {
	c := credential(t)
	_, path, _ := kept(t, c)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(good, []byte("SECRET")) {
		t.Error("the file has a secret in it")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	flipped := func(at int) []byte { b := bytes.Clone(good); b[at] ^= 1; return b }
	for name, file := range map[string]struct {
		content []byte
		by      *pki.Credential
	}{
		"another machine's":     {good, credential(t)},
		"empty":                 {[]byte{}, c},
		"cut short":             {good[:len(good)/2], c},
		"cut by a byte":         {good[:len(good)-1], c},
		"the mark is damaged":   {flipped(0), c},
		"the signature is":      {flipped(30), c},
		"the content is":        {flipped(len(good) - 20), c},
		"something behind it":   {append(bytes.Clone(good), 'x'), c},
		"no signature":          {[]byte("nebula-state 1 \nxx"), c},
		"something else":        {[]byte("# notes\n"), c},
		"a line without an end": {bytes.Repeat([]byte("x"), 1000), c},
		"missing":               {nil, c},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			if file.content != nil {
				if err := os.WriteFile(path, file.content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var log bytes.Buffer
			s, err := store.OpenSnapshot(t.Context(), &away{err: store.ErrUnavailable}, slog.New(slog.NewTextHandler(&log, nil)), snapshotOf(file.by, path))
			if !errors.Is(err, store.ErrUnavailable) || s != nil {
				t.Errorf("got %v, %v; want the store's own error", s, err)
			}
			if n := strings.Count(log.String(), "\n"); n != 1 {
				t.Errorf("%d lines in the log, want one:\n%s", n, log.String())
			}
		})
	}
}

func TestKeep_followsTheState(t *testing.T) {
	c := credential(t)
	kv, path, _ := kept(t, c)
	s, err := store.OpenSnapshot(t.Context(), kv, quiet(), snapshotOf(c, path))
	if err != nil {
		t.Fatal(err)
	}
	running(t, s.Run)
	running(t, func(ctx context.Context) error { return s.Keep(ctx, snapshotOf(c, path)) })
	for i := range 3 {
		uid := fmt.Sprintf("m%d", i)
		write(t, kv, "/models/"+uid+"/spec", `{"model_uid":"`+uid+`","model_name":"x"}`)
		awaitFor(t, "the file to have "+uid, func() bool {
			again, err := store.OpenSnapshot(t.Context(), &away{err: store.ErrUnavailable}, quiet(), snapshotOf(c, path))
			if err != nil {
				t.Fatal(err) // never a file that is half written
			}
			st, _ := again.Current()
			return st.Models.Has(uid)
		})
	}
}
