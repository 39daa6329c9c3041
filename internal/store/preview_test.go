package store_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

func TestPreview_showsTheStateAndCommitsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
		put(t, s, spec("kept"))
		put(t, s, spec("gone"))
		before := kv.Revision()
		after, err := s.Preview(store.OwnerControl, func(tx *store.Tx) error {
			if err := store.Models.Put(tx, "new", spec("new")); err != nil {
				return err
			}
			if err := tx.Append(store.AuditPrefix+"1", []byte("{}"), 0); err != nil {
				return err
			}
			return store.Models.Delete(tx, "gone")
		})
		if err != nil || !after.Models.Has("new") || !after.Models.Has("kept") || after.Models.Has("gone") || after.Revision != before+1 {
			t.Errorf("%d models at revision %d, error %v", after.Models.Len(), after.Revision, err)
		}
		if st, _ := s.Current(); st.Models.Has("new") || !st.Models.Has("gone") || kv.Revision() != before {
			t.Error("the preview changed the store")
		}
		refused := errors.New("refused")
		if _, err := s.Preview(store.OwnerControl, func(*store.Tx) error { return refused }); !errors.Is(err, refused) {
			t.Errorf("error %v", err)
		}
		if _, err := s.Preview(store.OwnerControl, func(tx *store.Tx) error { return store.Nodes.Put(tx, "n", api.NodeStatus{NodeID: "n"}) }); err == nil {
			t.Error("it lets people write a node's table")
		}
	})
}

// A preview edits copies: the goroutine that follows the store edits the tables themselves at the same time. The race detector watches.
func TestPreview_besideWrites(t *testing.T) {
	kv := storetest.NewMem()
	s := open(t, kv, quiet())
	var both sync.WaitGroup
	both.Go(func() {
		for range 50 {
			if _, err := s.Preview(store.OwnerControl, func(tx *store.Tx) error { return store.Models.Put(tx, "p", spec("p")) }); err != nil {
				t.Error(err)
			}
		}
	})
	both.Go(func() {
		for i := range 50 {
			if _, err := s.Update(context.WithoutCancel(t.Context()), store.OwnerControl, func(tx *store.Tx) error {
				m := spec("w")
				m.UpdatedAtMS = int64(i)
				return store.Models.Put(tx, "w", m)
			}); err != nil {
				t.Error(err)
			}
		}
	})
	both.Wait()
	if st, _ := s.Current(); st.Models.Has("p") || !st.Models.Has("w") {
		t.Error("the written model is missing, or the previewed one is there")
	}
}

func TestAppend(t *testing.T) {
	bubble(t, func(t *testing.T, _ *storetest.MemKV, s *store.Store) {
		write := func(key string) error {
			_, err := s.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error { return tx.Append(key, []byte(key), 0) })
			return err
		}
		for _, key := range []string{store.EventsPrefix + "m/2", store.EventsPrefix + "m/1", store.EventsPrefix + "other/1"} {
			if err := write(key); err != nil {
				t.Fatal(err)
			}
		}
		if err := write(store.EventsPrefix + "m/1"); !api.HasCode(err, api.CodeConflict) {
			t.Errorf("a record written twice: %v", err)
		}
		for _, key := range []string{"/models/m/spec", store.AuditPrefix, "", "/eventsx/1"} {
			if err := write(key); err == nil || !strings.Contains(err.Error(), "histories") {
				t.Errorf("append %q: %v", key, err)
			}
		}
		got, err := s.Records(t.Context(), store.EventsPrefix+"m/")
		if err != nil || len(got) != 2 || got[0].Key > got[1].Key || string(got[0].Value) != got[0].Key {
			t.Errorf("%d records, error %v", len(got), err)
		}
		if st, _ := s.Current(); st.Bad.Len() != 0 || st.Models.Len() != 0 {
			t.Error("a record became part of the State")
		}
	})
}

func TestChanges_areWhatTheTransactionWrites(t *testing.T) {
	bubble(t, func(t *testing.T, _ *storetest.MemKV, s *store.Store) {
		put(t, s, spec("changed"))
		put(t, s, spec("deleted"))
		put(t, s, spec("same"))
		var got []string
		if _, err := s.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
			m := spec("changed")
			m.Labels = map[string]string{"a": "b"}
			err := errors.Join(store.Models.Put(tx, "changed", m), store.Models.Put(tx, "same", spec("same")), store.Models.Put(tx, "added", spec("added")),
				store.Models.Delete(tx, "deleted"), store.Models.Delete(tx, "absent"), store.Secrets.Put(tx, "s", api.Secret{Name: "s"}))
			got = nil
			for _, c := range tx.Changes() {
				line := c.Table + " " + c.ID
				if c.Before != nil {
					line += " before"
				}
				if c.After != nil {
					line += " after"
				}
				got = append(got, strings.Join(append([]string{line}, c.Private...), " "))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		want := []string{"model spec added after", "model spec changed before after", "model spec deleted before", "secret s after sealed"}
		if !slices.Equal(got, want) {
			t.Errorf("changes %q\nwant    %q", got, want)
		}
	})
}
