package store

import (
	"fmt"
	"testing"

	"github.com/nebula-serve/nebula/internal/cluster"
)

func node(cpus int, rev int64) Event {
	return Event{KeyValue: KeyValue{Key: "/nodes/n/status", Value: fmt.Appendf(nil, `{"node_id":"n","last_heartbeat_ms":1,"cpus":%d}`, cpus), ModRev: rev}}
}

// F33: a batch that comes again, late, or with a part of the past in front changes nothing back.
func TestBuilder_takesEveryEventOnce(t *testing.T) {
	s := cluster.State{}
	for i, step := range []struct {
		batch Batch
		cpus  uint32
		rev   int64
	}{
		{Batch{Revision: 3, Events: []Event{node(2, 2), node(3, 3)}}, 3, 3},
		{Batch{Revision: 3, Events: []Event{node(2, 2), node(3, 3)}}, 3, 3},
		{Batch{Revision: 2, Events: []Event{node(2, 2)}}, 3, 3},
		{Batch{Revision: 2}, 3, 3},
		{Batch{Revision: 5, Events: []Event{node(3, 3), node(5, 5)}}, 5, 5},
		{Batch{Revision: 9}, 5, 9},
	} {
		b := newBuilder(kinds(), s)
		b.apply(step.batch)
		next := *b.done()
		if n, _ := next.Nodes.Value("n"); n.CPUs != step.cpus || next.Revision != step.rev {
			t.Errorf("step %d: write %d at revision %d, want %d at %d", i, n.CPUs, next.Revision, step.cpus, step.rev)
		}
		if before, _ := s.Nodes.Value("n"); i > 0 && next.Nodes != s.Nodes && before.CPUs == step.cpus {
			t.Errorf("step %d: the table was copied although nothing in it changed", i)
		}
		s = next
	}
}

func TestBuilder_sharesWhatDidNotChange(t *testing.T) {
	list := []KeyValue{
		{Key: "/models/m/spec", Value: []byte(`{"model_uid":"m","model_name":"m","model_source":"local"}`), ModRev: 1},
		{Key: "/deployments/bad", Value: []byte(`?`), ModRev: 1},
	}
	old := fromList(kinds(), list, 1)
	b := newBuilder(kinds(), *old)
	b.apply(Batch{Revision: 2, Events: []Event{node(1, 2)}})
	next := b.done()
	if next.Models != old.Models || next.Bad != old.Bad || next.Nodes == old.Nodes || old.Nodes.Len() != 0 {
		t.Error("an event of one table touched others, or the State that was there before")
	}
	if old.Models.Len() != 1 || old.Bad.Len() != 1 {
		t.Errorf("the list gave %d models, %d unreadable", old.Models.Len(), old.Bad.Len())
	}
}
