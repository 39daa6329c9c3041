package cluster

import (
	"github.com/nebula-serve/nebula/api"
)

// kind says how one assigned replica stands, from well to bad: the worst replica explains its model.
type kind int

const (
	none        kind = iota
	waiting          // its node has not taken it on yet
	replacing        // its former engine is leaving; it starts anew on the same node
	loading          // its engine starts
	downloading      // its files are on their way
	cutOff           // it served when its node last reported, and as far as anybody knows still does
	lost             // its node does not report any more, and it did not serve
	retrying         // it failed, and is tried again
	silent           // it served, and does not answer its probe any more
	gaveUp           // it failed for good, or failed again and again
)

// finding is one replica that does not serve, and why.
type finding struct {
	kind     kind
	at       *api.PlacementAssignment
	failure  *api.ReplicaFailure
	loaded   *float64
	progress *api.DownloadProgress
}

// stock is what a model's assigned replicas amount to. ready + starting + unhealthy = the assigned replicas.
type stock struct {
	ready, starting, unhealthy uint32
	unseen                     uint32  // of the ready ones, those whose node does not report
	coming                     bool    // some replica gets there by itself
	worst                      finding // of those that are not ready; the first of its kind
	cutOff                     finding // the first that is ready on a node that does not report
	download                   finding // the first that really downloads
}

func takeStock(s *State, wish *api.ModelDeployment, plan *api.PlacementPlan) stock {
	var t stock
	for i := range plan.Assignments {
		f, ready := find(s, wish, &plan.Assignments[i])
		switch {
		case ready:
			t.ready++
			t.noteUnseen(f)
			continue
		case f.kind >= retrying:
			t.unhealthy++
		default:
			t.starting++
		}
		switch f.kind {
		case gaveUp, silent:
		case lost:
			t.coming = t.coming || plan.Unplaced == nil
		default:
			t.coming = true
		}
		if f.kind > t.worst.kind {
			t.worst = f
		}
		if f.kind == downloading && t.download.kind == none {
			t.download = f
		}
	}
	for i := range plan.Displaced { // it still serves for a replacement that does not yet, or both do
		if f, ready := find(s, wish, &plan.Displaced[i]); ready && t.ready < wish.Replicas {
			t.ready++
			t.noteUnseen(f)
		}
	}
	return t
}

func (t *stock) noteUnseen(f finding) {
	if f.kind != cutOff {
		return
	}
	t.unseen++
	if t.cutOff.kind == none {
		t.cutOff = f
	}
}

// find tells how one assigned replica stands.
func find(s *State, wish *api.ModelDeployment, a *api.PlacementAssignment) (f finding, ready bool) {
	f.at = a
	key := api.EndpointKey(wish.ModelUID, a.ReplicaID)
	entry, ok := s.Endpoints.Get(key)
	e := &entry.Value
	if !ok || e.NodeID != a.NodeID { // what another node says is of a former life
		f.kind = waiting
		if !s.Nodes.Has(a.NodeID) {
			f.kind = lost
		}
		return f, false
	}
	switch seen := s.Nodes.Has(a.NodeID); {
	case e.Status == api.EndpointReady && seen:
		return f, true
	case e.Status == api.EndpointReady:
		f.kind = cutOff
		return f, true
	case !seen:
		f.kind = lost
		return f, false
	}
	f.failure, f.loaded = e.Failure, e.LoadedPercent
	f.progress = downloadOf(s, key, a.NodeID)
	switch {
	case f.failure != nil && (e.Generation != 0 && e.Generation < wish.Version || anotherToken(s, e)): // people asked again since: it is tried anew
		f.kind = waiting
	case f.failure != nil && (f.failure.Final || f.failure.Code == api.FailCrashLoop):
		f.kind = gaveUp
	case e.Status == api.EndpointDraining:
		f.kind = replacing
	case f.progress != nil:
		f.kind = downloading
	case e.Status == api.EndpointUnhealthy && (f.failure == nil || f.failure.RetryAtMS == 0):
		f.kind = silent
	case f.failure != nil:
		f.kind = retrying
	default:
		f.kind = loading
	}
	return f, false
}

// anotherToken tells whether a replica began with a secret that has changed since.
func anotherToken(s *State, e *api.EndpointInfo) bool {
	if e.TokenVersion == 0 {
		return false
	}
	spec, _ := s.Models.Value(e.ModelUID)
	secret, _ := s.Secrets.Value(spec.TokenSecret)
	return e.TokenVersion != secret.Version
}

// downloadOf returns the progress of a replica that is downloading now, or nil.
func downloadOf(s *State, key, node string) *api.DownloadProgress {
	p, ok := s.Downloads.Get(key)
	if !ok || p.Value.NodeID != node || p.Value.Phase != api.PhaseDownloading && p.Value.Phase != api.PhaseVerifying {
		return nil
	}
	d := p.Value
	return &d
}

// degradedBy explains a model that serves with fewer replicas than desired. What failed comes before what has no place,
// and that before what is on its way.
func (t *stock) degradedBy(plan *api.PlacementPlan, missing bool) *api.Reason {
	switch {
	case t.worst.kind > lost, t.worst.kind == lost && plan.Unplaced == nil:
		return t.worst.reason()
	case plan.Unplaced != nil && (missing || t.worst.kind == lost):
		return plan.Unplaced
	case missing:
		return pendingReason(false)
	case t.worst.kind == none: // all are ready, and some of their nodes do not report
		if plan.Unplaced != nil {
			return plan.Unplaced
		}
		return t.cutOff.reason()
	}
	return t.worst.reason()
}
