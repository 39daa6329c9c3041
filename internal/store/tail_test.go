package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// woken waits until a tail has something to take.
func woken(t *testing.T, tail *store.Tail) (keys string, lost bool) {
	t.Helper()
	select {
	case <-tail.Wake():
	case <-time.After(30 * time.Second):
		t.Fatal("the tail has not heard anything")
	}
	added, lost := tail.Take()
	var names []string
	for _, kv := range added {
		names = append(names, fmt.Sprintf("%s@%d", kv.Key[strings.LastIndex(kv.Key, "/")+1:], kv.ModRev))
	}
	return strings.Join(names, " "), lost
}

func record(key string) store.Op { return store.Op{Key: store.EventsPrefix + key, Value: []byte("{}")} }

// TestTail: it hears what is added under its own prefix, a transaction always whole, and neither what is forgotten nor what is elsewhere.
func TestTail(t *testing.T) {
	kv := storetest.NewMem()
	s := open(t, kv, quiet())
	tail, other := s.Tail("/events/m/"), s.Tail("/events/n/")
	defer other.Close()
	for _, ops := range [][]store.Op{
		{record("mm/1")},
		{record("m/1/1"), record("m"), {Key: "/foreign", Value: []byte("x")}},
		{record("m/2"), {Key: "/events/m/0", Delete: true}, record("m/1")},
	} {
		if _, err := kv.Txn(t.Context(), nil, ops); err != nil {
			t.Fatal(err)
		}
	}
	if got, lost := woken(t, tail); got != "2@4 1@4" || lost {
		t.Errorf("heard %q, lost %v", got, lost)
	}
	tail.Close()
	if _, err := kv.Txn(t.Context(), nil, []store.Op{record("m/3"), record("n/1")}); err != nil {
		t.Fatal(err)
	}
	if got, _ := woken(t, other); got != "1@5" {
		t.Errorf("the other heard %q", got)
	}
	if got, lost := tail.Take(); len(got) != 0 || lost {
		t.Errorf("heard %v after its end", got)
	}
}

// TestTail_saysWhatItLost: when too much waits, and when a list has taken the place of the watch.
func TestTail_saysWhatItLost(t *testing.T) {
	kv := storetest.NewMem()
	s := open(t, kv, quiet())
	tail := s.Tail("/events/m/")
	defer tail.Close()
	other := s.Tail("/events/n/")
	defer other.Close()
	restore := kv.Backup()
	for i := range 300 {
		kv.Put(fmt.Sprintf("/events/m/%03d", i), nil)
	}
	kv.Put("/models/m/spec", []byte(`{"model_uid":"m","model_name":"acme/m","model_source":"huggingface"}`))
	until(t, s, "all is known", func(st *cluster.State) bool { return st.Models.Has("m") })
	kv.Put("/events/n/1", nil)
	woken(t, other) // who hears of this has told all that was known before
	if keys, lost := woken(t, tail); keys != "" || !lost {
		t.Errorf("of what is lost it tells a part: %s, lost %v", keys, lost)
	}
	restore() // the store's history goes back, so that everything is listed anew
	if _, lost := woken(t, tail); !lost {
		t.Error("a list in place of the watch is not told")
	}
	kv.Put("/events/m/a", nil)
	if keys, lost := woken(t, tail); keys != "a@2" || lost {
		t.Errorf("then it hears %s, lost %v", keys, lost)
	}
	all, revision, err := s.RecordsAt(t.Context(), "/events/m/")
	if err != nil || revision != kv.Revision() || !slices.ContainsFunc(all, func(kv store.KeyValue) bool { return kv.Key == "/events/m/a" }) {
		t.Errorf("%d records at %d: %v", len(all), revision, err)
	}
}
