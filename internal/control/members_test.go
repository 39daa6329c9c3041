package control_test

import (
	"crypto/x509"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
)

func parse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (f *fleet) member(id string) api.Member {
	s, _ := f.st.Current()
	m, _ := s.Members.Value(api.MemberKey(api.MachineNode, id))
	return m
}

func TestNodeVerbs_areRepeatable(t *testing.T) {
	f := newFleet(t)
	if _, err := f.Join(ann(t), f.request(api.MachineNode, "n1", f.token(api.CreateJoinToken{For: api.MachineNode}))); err != nil {
		t.Fatal(err)
	}
	type flags struct{ cordoned, draining bool }
	for _, step := range []struct {
		name string
		verb func(id string) (api.Member, error)
		want flags
	}{
		{"cordon", func(id string) (api.Member, error) { return f.CordonNode(ann(t), id) }, flags{true, false}},
		{"drain", func(id string) (api.Member, error) { return f.DrainNode(ann(t), id) }, flags{true, true}},
		{"cordon a draining node", func(id string) (api.Member, error) { return f.CordonNode(ann(t), id) }, flags{true, true}},
		{"uncordon", func(id string) (api.Member, error) { return f.UncordonNode(ann(t), id) }, flags{}},
	} {
		before := ""
		for range 2 {
			m, err := step.verb("n1")
			if err != nil || (flags{m.Cordoned, m.Draining}) != step.want || f.member("n1") != m {
				t.Errorf("%s: %+v, %v", step.name, m, err)
			}
			before = m.KeyHash
		}
		if before == "" {
			t.Errorf("%s lost the key", step.name)
		}
		for _, id := range []string{"none", "../x", ""} {
			if _, err := step.verb(id); !api.HasCode(err, api.CodeNotFound) {
				t.Errorf("%s of %q: %v", step.name, id, err)
			}
		}
	}
}

func TestRegisterLocal_keepsWhatPeopleSaid(t *testing.T) {
	f := newFleet(t)
	local := api.Member{Role: api.MachineNode, ID: "local"}
	for range 2 {
		if err := f.RegisterLocal(ann(t), local); err != nil {
			t.Fatal(err)
		}
		if _, err := f.DrainNode(ann(t), "local"); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := f.st.Current()
	if err := f.RegisterLocal(ann(t), local); err != nil || !f.member("local").Draining {
		t.Errorf("registered again: %+v, %v", f.member("local"), err)
	}
	if after, _ := f.st.Current(); after.Revision != before.Revision {
		t.Error("registering the same again wrote to the store")
	}
}

func TestRemoveMember_refusesANodeThatServes(t *testing.T) {
	f := newFleet(t)
	put := func(owner store.Owner, fn func(*store.Tx) error) {
		t.Helper()
		if _, err := f.st.Update(ann(t), owner, fn); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"n1", "n2"} {
		if _, err := f.Join(ann(t), f.request(api.MachineNode, id, f.token(api.CreateJoinToken{For: api.MachineNode}))); err != nil {
			t.Fatal(err)
		}
		put(store.OwnerNode, func(tx *store.Tx) error { return store.Nodes.Put(tx, id, api.NodeStatus{NodeID: id}) })
	}
	put(store.OwnerScheduler, func(tx *store.Tx) error {
		return store.Placements.Put(tx, "m", api.PlacementPlan{ModelUID: "m", Assignments: []api.PlacementAssignment{{ReplicaID: 1, NodeID: "n1"}}})
	})
	put(store.OwnerNode, func(tx *store.Tx) error {
		if err := store.Endpoints.Put(tx, "m/1", api.EndpointInfo{ModelUID: "m", ReplicaID: 1, NodeID: "n1"}); err != nil {
			return err
		}
		return store.Endpoints.Put(tx, "old/7", api.EndpointInfo{ModelUID: "old", ReplicaID: 7, NodeID: "n1"})
	})
	err := f.RemoveMember(ann(t), api.MachineNode, "n1", false)
	if !api.HasCode(err, api.CodeConflict) || !strings.Contains(err.Error(), "has 2 of") || !strings.Contains(err.Error(), "nebula node drain n1") {
		t.Errorf("a node that serves: %v", err)
	}
	if err := f.RemoveMember(ann(t), api.MachineNode, "n2", false); err != nil {
		t.Errorf("a node without replicas: %v", err)
	}
	if err := f.RemoveMember(ann(t), api.MachineNode, "n1", true); err != nil {
		t.Errorf("by force: %v", err)
	}
	for _, id := range []string{"n1", "n2", "none", "../x"} {
		if err := f.RemoveMember(ann(t), api.MachineNode, id, true); !api.HasCode(err, api.CodeNotFound) {
			t.Errorf("%s again: %v", id, err)
		}
	}
	if err := f.RemoveMember(ann(t), "king", "x", true); !api.HasCode(err, api.CodeNotFound) {
		t.Errorf("an invented role: %v", err)
	}
	// A node inside a server is not removed while it is there: it would only come back.
	if err := f.RegisterLocal(ann(t), api.Member{Role: api.MachineNode, ID: "local"}); err != nil {
		t.Fatal(err)
	}
	put(store.OwnerNode, func(tx *store.Tx) error { return store.Nodes.Put(tx, "local", api.NodeStatus{NodeID: "local"}) })
	if err := f.RemoveMember(ann(t), api.MachineNode, "local", true); !api.HasCode(err, api.CodeConflict) {
		t.Errorf("a server's own node: %v", err)
	}
	put(store.OwnerNode, func(tx *store.Tx) error { return store.Nodes.Delete(tx, "local") })
	if err := f.RemoveMember(ann(t), api.MachineNode, "local", false); err != nil {
		t.Errorf("one that is gone: %v", err)
	}
}
