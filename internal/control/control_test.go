package control_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// world is a Control on a real store over a KV in memory.
type world struct {
	*control.Control
	t  *testing.T
	kv store.KV
	st *store.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	kv := storetest.NewMem()
	w, end := worldOn(t, kv)
	t.Cleanup(func() { end(); _ = kv.Close() })
	return w
}

func (w *world) create(req api.CreateModel) api.ModelCreated {
	w.t.Helper()
	made, err := w.CreateModel(ann(w.t), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

// corrupt stores something that is no document, and returns when the store has seen it.
func (w *world) corrupt(key string) {
	w.t.Helper()
	if _, err := w.kv.Txn(ann(w.t), nil, []store.Op{{Key: key, Value: []byte("{not json")}}); err != nil {
		w.t.Fatal(err)
	}
	w.await(func() bool { s, _ := w.st.Current(); return s.Bad.Has(key) })
}

func (w *world) await(cond func() bool) {
	w.t.Helper()
	deadline := time.After(10 * time.Second)
	for !cond() {
		_, changed := w.st.Current()
		if cond() {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			w.t.Fatal("waited in vain")
		}
	}
}

// together runs n calls at once and returns their errors.
func together(n int, call func(i int) error) []error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = call(i) })
	}
	all.Wait()
	return errs
}

func key[T any](t *testing.T, table store.Table[T], uid string) string {
	t.Helper()
	k, ok := table.Key(uid)
	if !ok {
		t.Fatalf("no key for %q", uid)
	}
	return k
}

func TestCreateModel_derivedUIDsAreDistinctUnderConcurrency(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	uids := map[string]bool{}
	for i, err := range together(20, func(int) error {
		made, err := w.CreateModel(ann(t), api.CreateModel{ModelName: "acme/Thing", AutoStart: true})
		mu.Lock()
		defer mu.Unlock()
		uids[made.Spec.ModelUID] = true
		return err
	}) {
		if err != nil {
			t.Errorf("create %d: %v", i, err)
		}
	}
	s, _ := w.st.Current()
	if len(uids) != 20 || s.Models.Len() != 20 || s.Deployments.Len() != 20 {
		t.Errorf("%d uids, %d models, %d deployments; want 20 of each", len(uids), s.Models.Len(), s.Deployments.Len())
	}
}

// A transaction holds only so many documents; the search for a free uid must not count against that.
func TestCreateModel_derivedUIDAfterVeryMany(t *testing.T) {
	w := newWorld(t)
	for i := range 120 {
		made := w.create(api.CreateModel{ModelName: "acme/thing"})
		want := "acme-thing"
		if i > 0 {
			want = fmt.Sprintf("acme-thing-%d", i+1)
		}
		if made.Spec.ModelUID != want {
			t.Fatalf("model %d is %s, want %s", i+1, made.Spec.ModelUID, want)
		}
	}
	if err := w.DeleteModel(ann(t), "acme-thing-60", 0); err != nil {
		t.Fatal(err)
	}
	if made := w.create(api.CreateModel{ModelName: "acme/thing"}); made.Spec.ModelUID != "acme-thing-60" {
		t.Errorf("the lowest free suffix is 60, not that of %s", made.Spec.ModelUID)
	}
}

func TestCreateModel_explicitUIDIsGivenOnce(t *testing.T) {
	w := newWorld(t)
	won := 0
	for _, err := range together(20, func(int) error {
		_, err := w.CreateModel(ann(t), api.CreateModel{ModelName: "acme/thing", ModelUID: "mine"})
		return err
	}) {
		switch {
		case err == nil:
			won++
		case !api.HasCode(err, api.CodeModelExists):
			t.Errorf("a loser got %v, want %s", err, api.CodeModelExists)
		}
	}
	if won != 1 {
		t.Errorf("%d creates of one uid succeeded, want 1", won)
	}
}

// Every change counts the version by one: a lost update would show as a gap.
func TestWishes_areNotLostUnderConcurrency(t *testing.T) {
	w := newWorld(t)
	w.create(api.CreateModel{ModelName: "a", ModelUID: "a", AutoStart: true})
	const each = 8
	ctx := ann(t)
	errs := together(3*each, func(i int) error {
		var err error
		switch i % 3 {
		case 0:
			n := uint32(i + 1)
			_, err = w.ScaleModel(ctx, "a", api.ScaleModel{Replicas: &n}, 0)
			if api.HasCode(err, api.CodeModelStopped) {
				err = nil // a stop came first: refused, and not counted
				_, err2 := w.StartModel(ctx, "a", api.StartModel{}, 0)
				return err2
			}
		case 1:
			_, err = w.StopModel(ctx, "a", 0)
		case 2:
			_, err = w.StartModel(ctx, "a", api.StartModel{}, 0)
		}
		return err
	})
	for i, err := range errs {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	s, _ := w.st.Current()
	if d, _ := s.Deployments.Value("a"); d.Version != 1+3*each {
		t.Errorf("version %d after %d changes, want %d", d.Version, 3*each, 1+3*each)
	}
}

// Of many changes that name the same revision one gets through.
func TestUpdateModel_ifMatchLetsOneThrough(t *testing.T) {
	w := newWorld(t)
	w.create(api.CreateModel{ModelName: "a", ModelUID: "a"})
	s, _ := w.st.Current()
	e, _ := s.Models.Get("a")
	won := 0
	for _, err := range together(10, func(i int) error {
		_, err := w.UpdateModel(ann(t), "a", api.UpdateModel{Labels: map[string]string{"by": fmt.Sprint(i)}}, e.Rev)
		return err
	}) {
		switch {
		case err == nil:
			won++
		case !api.HasCode(err, api.CodeRevisionMismatch):
			t.Errorf("a loser got %v, want %s", err, api.CodeRevisionMismatch)
		}
	}
	if won != 1 {
		t.Errorf("%d updates of one revision succeeded, want 1", won)
	}
}

func TestUnreadableDocuments(t *testing.T) {
	for _, broken := range []string{"model", "deployment", "placement", "all"} {
		t.Run(broken, func(t *testing.T) {
			w := newWorld(t)
			ctx := ann(t)
			w.create(api.CreateModel{ModelName: "a", ModelUID: "a", AutoStart: true})
			keys := map[string]string{
				"model": key(t, store.Models, "a"), "deployment": key(t, store.Deployments, "a"), "placement": key(t, store.Placements, "a"),
			}
			for name, k := range keys {
				if broken == name || broken == "all" {
					w.corrupt(k)
				}
			}
			if broken != "placement" {
				if _, err := w.StartModel(ctx, "a", api.StartModel{}, 0); !api.HasCode(err, api.CodeConflict) {
					t.Errorf("start: %v, want a conflict: nothing unreadable is overwritten", err)
				}
				if _, err := w.StopModel(ctx, "a", 0); !api.HasCode(err, api.CodeConflict) {
					t.Errorf("stop: %v, want a conflict", err)
				}
				if _, err := w.CreateModel(ctx, api.CreateModel{ModelName: "a", ModelUID: "a"}); err == nil {
					t.Error("the uid of an unreadable document was given again")
				}
				if made := w.create(api.CreateModel{ModelName: "a"}); made.Spec.ModelUID != "a-2" {
					t.Errorf("derived uid %s, want a-2", made.Spec.ModelUID)
				}
			}
			if err := w.DeleteModel(ctx, "a", 0); err != nil {
				t.Fatalf("delete: %v", err)
			}
			s, _ := w.st.Current()
			if s.Bad.Len() != 0 || s.Models.Has("a") || s.Deployments.Has("a") {
				t.Errorf("after the deletion: %d unreadable, model %v, deployment %v", s.Bad.Len(), s.Models.Has("a"), s.Deployments.Has("a"))
			}
			if made := w.create(api.CreateModel{ModelName: "a", ModelUID: "a", AutoStart: true}); made.Spec.ModelUID != "a" {
				t.Errorf("created again as %s", made.Spec.ModelUID)
			}
			if err := w.DeleteModel(ctx, "nobody", 0); !api.HasCode(err, api.CodeNotFound) {
				t.Errorf("delete of an unknown model: %v", err)
			}
		})
	}
}
