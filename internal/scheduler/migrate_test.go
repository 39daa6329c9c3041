package scheduler

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// TestPlan_migration: on an old cluster whose requests are migrated, all at once, in parts or twice, nothing that has a place gets another one.
func TestPlan_migration(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.calm = true
		for range 4 {
			w.node()
		}
		for range rapid.IntRange(1, 8).Draw(t, "wishes") {
			w.want()
		}
		w.old()
		for range 3 { // what has a place runs
			w.plan()
			for id := range 4 {
				w.act(fmt.Sprintf("n%d", id))
			}
		}
		w.plan()
		for range 3 {
			w.migrate(func() bool { return rapid.IntRange(0, 3).Draw(t, "broken off") > 0 })
			if changes := w.plan(); len(changes) > 0 {
				t.Fatalf("after a migration there is something to plan: %s, after\n%s", words(changes), w)
			}
		}
		w.migrate(func() bool { return true })
		changes, stored := w.plan(), w.s.StoredDeployments.Len()
		if w.migrate(func() bool { return true }); len(changes) > 0 || w.s.StoredDeployments.Len() != stored || stored != w.s.Deployments.Len() {
			t.Fatalf("a second migration does something, or the first has left something: %s, after\n%s", words(changes), w)
		}
	})
}

// old makes the cluster one of the existing Nebula: some of its models are requests of version 1, some are stored in halves.
func (w *world) old() {
	models, deployments := w.s.Models, w.s.Deployments
	for d := range deployments.All() {
		uid := d.ID
		spec, _ := models.Value(uid)
		how := w.pick("stored as", "a request", "a request", "a request and a half", "a model")
		if how == "a model" || d.Value.Replicas == 0 {
			put(w, &w.s.StoredModels, uid, spec)
			put(w, &w.s.StoredDeployments, uid, d.Value)
			continue
		}
		if how != "a request" {
			half := spec
			half.CreatedBy = cluster.MigratedBy
			put(w, &w.s.StoredModels, uid, half)
		}
		q := api.ModelRequest{
			ID: "r-" + uid, CreatedAtMS: 1, Status: api.RequestStatus{Phase: api.RequestScheduled},
			Request: api.ModelLoadRequest{
				ModelUID: uid, ModelName: spec.ModelName, EngineType: spec.EngineType, Config: spec.Config, Replicas: d.Value.Replicas, GPUIndices: d.Value.GPUAffinity,
			},
		}
		if d.Value.NodeAffinity != "" {
			q.Request.NodeID = &d.Value.NodeAffinity
		}
		if d.Value.DesiredState == api.DesiredStopped {
			q.Status.Phase = api.RequestFailed
		}
		put(w, &w.s.Requests, q.ID, q)
		w.note("%s is %s", uid, how)
	}
	w.s = *w.s.WithRequests(false)
}

// migrate carries out the steps of a migration that through lets through.
func (w *world) migrate(through func() bool) {
	for _, step := range cluster.MigrationPlan(&w.s) {
		if !step.Pending() || !through() {
			continue
		}
		if step.Spec != nil {
			put(w, &w.s.StoredModels, step.ModelUID, *step.Spec)
		}
		if step.Deployment != nil {
			put(w, &w.s.StoredDeployments, step.ModelUID, *step.Deployment)
		}
		w.note("%s is migrated", step.ModelUID)
	}
	w.s = *w.s.WithRequests(false)
}
