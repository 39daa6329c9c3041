// Package history tells what Nebula did with models, and why, as events that people read: a pure function compares how a model stood with how it
// stands, and one loop on the leader writes what it says.
package history

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// View is how a model stands, as far as its history tells of it. Percentages and times are no part of it: they change all the time.
type View struct {
	State    api.ModelState
	Reason   api.Reason // zero: none
	Unplaced api.Reason // why fewer replicas are placed than desired; zero: all are
	Replicas map[uint32]Replica
}

// Replica is how one placed replica stands.
type Replica struct {
	Node        string
	Restarts    uint32
	Downloading bool
	Failure     string // empty: none
	FailedAtMS  int64
}

// Look returns how a model stands.
func Look(s *cluster.State, uid string, now time.Time) View {
	status := cluster.Status(s, uid, now)
	v := View{State: status.State, Replicas: map[uint32]Replica{}}
	if status.Reason != nil {
		v.Reason = *status.Reason
	}
	plan, _ := s.Placements.Value(uid)
	if plan.Unplaced != nil {
		v.Unplaced = *plan.Unplaced
	}
	for _, a := range plan.Assignments {
		key := api.EndpointKey(uid, a.ReplicaID)
		r := Replica{Node: a.NodeID}
		if e, ok := s.Endpoints.Value(key); ok && e.NodeID == a.NodeID {
			r.Restarts = e.Restarts
			if e.Failure != nil {
				r.Failure, r.FailedAtMS = e.Failure.Message, e.Failure.AtMS
			}
		}
		if d, ok := s.Downloads.Value(key); ok && d.NodeID == a.NodeID {
			r.Downloading = true
		}
		v.Replicas[a.ReplicaID] = r
	}
	return v
}

// The verbs of what Nebula does; a model's new state is a verb, too.
const (
	VerbPlaced       = "placed"
	VerbUnplaced     = "unplaced"
	VerbNoPlace      = "no_place"
	VerbFailed       = "replica_failed"
	VerbRestarted    = "replica_restarted"
	VerbDownload     = "download_started"
	VerbDownloadOver = "download_ended"
)

// Events tells what happened between two views of a model, in an order in which it could have happened: none when they are the same. Ids are left
// to whoever writes them.
func Events(uid string, before, after View, now time.Time) []api.ModelEvent {
	t := teller{uid: uid, at: now.UnixMilli()}
	for _, n := range slices.Sorted(maps.Keys(before.Replicas)) {
		if old := before.Replicas[n]; after.Replicas[n].Node != old.Node {
			t.replica(VerbUnplaced, n, old.Node, "")
		}
	}
	for _, n := range slices.Sorted(maps.Keys(after.Replicas)) {
		t.progress(n, before.Replicas[n], after.Replicas[n])
	}
	if after.Unplaced.Code != before.Unplaced.Code && after.Unplaced.Code != "" {
		t.tell(VerbNoPlace, after.Unplaced.Message)
	}
	if after.State != before.State || after.Reason.Code != before.Reason.Code {
		t.tell(string(after.State), after.Reason.Message)
	}
	return t.events
}

type teller struct {
	uid    string
	at     int64
	events []api.ModelEvent
}

func (t *teller) tell(verb, message string) {
	t.events = append(t.events, api.ModelEvent{TimeMS: t.at, ModelUID: t.uid, Kind: "status", Verb: verb, Message: message})
}

func (t *teller) replica(verb string, n uint32, node, message string) {
	t.tell(verb, message)
	e := &t.events[len(t.events)-1]
	e.Replica, e.Node = &n, node
}

// progress tells what happened to one replica.
func (t *teller) progress(n uint32, old, now Replica) {
	if old.Node != now.Node {
		old = Replica{}
		t.replica(VerbPlaced, n, now.Node, "")
	}
	if now.Downloading && !old.Downloading {
		t.replica(VerbDownload, n, now.Node, "")
	}
	if old.Downloading && !now.Downloading {
		t.replica(VerbDownloadOver, n, now.Node, "")
	}
	if now.Failure != "" && now.FailedAtMS != old.FailedAtMS {
		t.replica(VerbFailed, n, now.Node, now.Failure)
	}
	if now.Restarts > old.Restarts {
		t.replica(VerbRestarted, n, now.Node, fmt.Sprintf("%d times since it was placed", now.Restarts))
	}
}
