package registry_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/registry"
	"github.com/nebula-serve/nebula/internal/store"
)

const planted = "hf_canary0123456789"

// TestSecret_onlyForAModelOfTheNode: a node gets the token of a model that it is to run at this moment, and nothing else.
func TestSecret_onlyForAModelOfTheNode(t *testing.T) {
	st, kv, _ := open(t)
	var log strings.Builder
	shut := false
	r := registry.New(registry.Config{Store: st, Leases: kv, Log: slog.New(slog.NewTextHandler(&log, nil)), Open: func(s api.Secret) (api.Token, error) {
		if shut {
			return "", api.Errorf(api.CodeUnavailable, "this server has another key")
		}
		if s.Name != "hf" {
			return "", errors.New("not the one that was asked for")
		}
		return planted, nil
	}})
	put := func(owner store.Owner, fn func(*store.Tx) error) {
		t.Helper()
		if _, err := st.Update(t.Context(), owner, fn); err != nil {
			t.Fatal(err)
		}
	}
	spec := api.ModelSpec{ModelUID: "m", ModelName: "acme/m", ModelSource: api.SourceHuggingFace, TokenSecret: "hf"}
	wish := func(state api.DesiredState) {
		t.Helper()
		put(store.OwnerControl, func(tx *store.Tx) error {
			return errors.Join(
				store.Models.Put(tx, "m", spec), store.Secrets.Put(tx, "hf", api.Secret{Name: "hf", Version: 1}),
				store.Models.Put(tx, "open", api.ModelSpec{ModelUID: "open", ModelName: "acme/open", ModelSource: api.SourceHuggingFace}),
				store.Deployments.Put(tx, "m", api.ModelDeployment{ModelUID: "m", DesiredState: state, Replicas: 1, Version: 1}),
				store.Deployments.Put(tx, "open", api.ModelDeployment{ModelUID: "open", DesiredState: state, Replicas: 1, Version: 1}),
			)
		})
	}
	place := func(uid string, here, displaced []api.PlacementAssignment) {
		t.Helper()
		put(store.OwnerScheduler, func(tx *store.Tx) error {
			return store.Placements.Put(tx, uid, api.PlacementPlan{ModelUID: uid, Version: 1, Assignments: here, Displaced: displaced})
		})
	}
	on := func(nodes ...string) []api.PlacementAssignment {
		out := []api.PlacementAssignment{}
		for i, n := range nodes {
			out = append(out, api.PlacementAssignment{ReplicaID: uint32(i), NodeID: n})
		}
		return out
	}
	refused := func(what, node, uid string, code api.Code) {
		t.Helper()
		if got, err := r.Secret(node, uid); got != "" || !api.HasCode(err, code) {
			t.Errorf("%s: %q, %v; want %s", what, string(got), err, code)
		}
	}

	refused("no such model", "n1", "m", api.CodeForbidden)
	wish(api.DesiredRunning)
	refused("not placed", "n1", "m", api.CodeForbidden)
	place("m", on("n1"), on("n3"))
	place("open", on("n1"), nil)
	if got, err := r.Secret("n1", "m"); err != nil || got != planted {
		t.Errorf("its own model: %q, %v", string(got), err)
	}
	refused("another node's model", "n2", "m", api.CodeForbidden)
	refused("a node that lost its place", "n3", "m", api.CodeForbidden)
	refused("a model without a secret", "n1", "open", api.CodeNotFound)
	refused("the secret's name for the model's", "n1", "hf", api.CodeForbidden)
	shut = true
	refused("a server that cannot open it", "n1", "m", api.CodeUnavailable)
	shut = false
	wish(api.DesiredStopped)
	refused("a model that is stopped", "n1", "m", api.CodeForbidden)
	wish(api.DesiredRunning)
	place("m", on("n2"), nil)
	refused("a model that moved away", "n1", "m", api.CodeForbidden)
	pull := api.CacheWish{NodeID: "n1", Kind: api.WishPull, Spec: spec}
	put(store.OwnerControl, func(tx *store.Tx) error { return store.CacheWishes.Put(tx, pull.Key(), pull) })
	if got, err := r.Secret("n1", "m"); err != nil || got != planted {
		t.Errorf("a model whose files it is to pull: %q, %v", string(got), err)
	}
	refused("a model that another node is to pull", "n4", "m", api.CodeForbidden)
	put(store.OwnerControl, func(tx *store.Tx) error { return store.CacheWishes.Delete(tx, pull.Key()) })
	refused("a pull that is over", "n1", "m", api.CodeForbidden)
	put(store.OwnerControl, func(tx *store.Tx) error { return store.Secrets.Delete(tx, "hf") })
	refused("a secret that was deleted", "n2", "m", api.CodeNotFound)
	if strings.Contains(log.String(), planted) || !strings.Contains(log.String(), "a secret was given to a node") {
		t.Errorf("log: %s", log.String())
	}
}

// TestDesired_tellsTheTokensVersion and nothing else of it.
func TestDesired_tellsTheTokensVersion(t *testing.T) {
	st, _, n := open(t)
	put := func(owner store.Owner, fn func(*store.Tx) error) {
		t.Helper()
		if _, err := st.Update(t.Context(), owner, fn); err != nil {
			t.Fatal(err)
		}
	}
	secret := func(version uint64) {
		put(store.OwnerControl, func(tx *store.Tx) error {
			return store.Secrets.Put(tx, "hf", api.Secret{Name: "hf", Version: version, Sealed: api.Sealed{KeyID: "k"}})
		})
	}
	put(store.OwnerControl, func(tx *store.Tx) error {
		return errors.Join(
			store.Models.Put(tx, "m", api.ModelSpec{ModelUID: "m", ModelName: "acme/m", ModelSource: api.SourceHuggingFace, TokenSecret: "hf"}),
			store.Deployments.Put(tx, "m", api.ModelDeployment{ModelUID: "m", DesiredState: api.DesiredRunning, Replicas: 1, Version: 1}),
			store.Members.Put(tx, "node/n1", api.Member{Role: api.MachineNode, ID: "n1"}),
		)
	})
	put(store.OwnerScheduler, func(tx *store.Tx) error {
		return store.Placements.Put(tx, "m", api.PlacementPlan{ModelUID: "m", Version: 1, Assignments: []api.PlacementAssignment{{NodeID: "n1"}}})
	})
	told := func(version uint64) {
		t.Helper()
		for {
			d, changed := n.Desired()
			if len(d.Replicas) == 1 && d.Replicas[0].TokenVersion == version {
				return
			}
			select {
			case <-changed:
			case <-t.Context().Done():
				t.Fatalf("version %d is not told", version)
			}
		}
	}
	told(0)
	secret(5)
	told(5)
	secret(6)
	told(6)
	put(store.OwnerControl, func(tx *store.Tx) error { return store.Secrets.Delete(tx, "hf") })
	told(0)
}
