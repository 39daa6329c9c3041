package control_test

import (
	"fmt"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
)

func TestStoreKeyUses(t *testing.T) {
	w := newWorld(t)
	write := func(fn func(*store.Tx) error) {
		t.Helper()
		if _, err := w.st.Update(t.Context(), store.OwnerControl, fn); err != nil {
			t.Fatal(err)
		}
	}
	var uses []api.KeyUse
	write(func(tx *store.Tx) error {
		for i := range 90 { // more than one transaction holds
			id := fmt.Sprintf("k%02d", i)
			uses = append(uses, api.KeyUse{ID: id, LastUsedMS: 60_000, Source: "192.0.2.1"})
			if err := store.APIKeys.Put(tx, id, api.APIKey{ID: id, Owner: "ann"}); err != nil {
				return err
			}
		}
		return nil
	})
	keep := func(uses ...api.KeyUse) {
		t.Helper()
		if err := w.StoreKeyUses(t.Context(), uses); err != nil {
			t.Fatal(err)
		}
	}
	keep(append(uses, api.KeyUse{ID: "nobody", LastUsedMS: 60_000})...)
	s, _ := w.st.Current()
	if s.KeyUses.Len() != 90 || s.KeyUses.Has("nobody") {
		t.Errorf("%d uses", s.KeyUses.Len())
	}
	keep(api.KeyUse{ID: "k00", LastUsedMS: 30_000}, api.KeyUse{ID: "k01", LastUsedMS: 120_000}, api.KeyUse{ID: "k02", LastUsedMS: 1 << 60})
	s, _ = w.st.Current()
	a, _ := s.KeyUses.Value("k00")
	b, _ := s.KeyUses.Value("k01")
	c, _ := s.KeyUses.Value("k02")
	if a.LastUsedMS != 60_000 || b.LastUsedMS != 120_000 || c.LastUsedMS >= 1<<60 {
		t.Errorf("an earlier, a later, one to come: %+v, %+v, %+v", a, b, c)
	}
	rev := s.Revision
	if keep(api.KeyUse{ID: "k01", LastUsedMS: 120_000}); func() int64 { s, _ := w.st.Current(); return s.Revision }() != rev {
		t.Error("what is known already was written again")
	}
	write(func(tx *store.Tx) error { return store.APIKeys.Delete(tx, "k05") })
	keep()
	if s, _ := w.st.Current(); s.KeyUses.Has("k05") || s.KeyUses.Len() != 89 {
		t.Errorf("the use of a key that is gone has stayed; %d uses", s.KeyUses.Len())
	}
}
