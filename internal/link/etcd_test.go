package link_test

import (
	"testing"

	"github.com/nebula-serve/nebula/internal/etcd/etcdtest"
)

// TestLink_onEtcd is the plain life of a node with a real etcd behind the server.
func TestLink_onEtcd(t *testing.T) {
	f := newFleet(t, etcdtest.Serve(t).Client)
	s := f.serve("s1", "", nil)
	walk(f, s)
	// A heartbeat renews the lease and is no entry of etcd's log.
	n := f.node("n2", "", nil, s.addr)
	f.sees(n)
	n.mustReport(t)
	_, before, err := f.kv.List(t.Context(), "/nodes/")
	if err != nil {
		t.Fatal(err)
	}
	f.await("heartbeat", func() bool {
		n.mustReport(t)
		_, beats := s.nodes.counts()
		return beats > 0
	})
	if _, after, err := f.kv.List(t.Context(), "/nodes/"); err != nil || after != before {
		t.Errorf("revision %d after the heartbeat, %d before: %v", after, before, err)
	}
}
