package agent

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"slices"

	"github.com/nebula-serve/nebula/api"
)

// Held is a replica that this agent has in hand, as its plan sees it.
type Held struct {
	Desired  api.DesiredReplica // what it was started for
	Ready    bool
	Stopping bool
	Failed   bool // for good, or waiting for the next try
}

// Verb is what to do with one replica.
type Verb string

// The verbs.
const (
	VerbStart    Verb = "start"    // take it on
	VerbReplace  Verb = "replace"  // stop it; it starts anew with its new wish once it is gone
	VerbRetarget Verb = "retarget" // nothing that the engine sees has changed: remember the newer plan
	VerbStop     Verb = "stop"
)

// Action is one step of a plan.
type Action struct {
	Verb Verb
	Key  string
	Want api.DesiredReplica // not for VerbStop
}

// Plan compares what should run with what is held and returns the steps, in order of key. It is pure.
//
// Branches, in order:
//  1. Nothing is known of the wish (revision 0): do nothing.
//  2. A held replica of a frozen model: leave it alone.
//  3. Held and not wanted: stop it.
//  4. Held, and already stopping: wait until it is gone.
//  5. Held with another fingerprint, or failed under an older generation or with another token: replace it, now. At most one replica of a model is
//     replaced at a time while it serves, so that a change rolls through.
//  6. Held with an older plan or generation: retarget it.
//  7. Wanted and not held: start it, unless its model is frozen or the replica is displaced. A displaced replica is neither started nor
//     replaced: the scheduler says soon which of the two stays.
func Plan(want api.NodeDesired, held map[string]Held) []Action {
	if want.Revision == 0 { // 1
		return nil
	}
	wanted := make(map[string]api.DesiredReplica, len(want.Replicas))
	for _, d := range want.Replicas {
		wanted[d.Key()] = d
	}
	rolling := rollingModels(held, wanted)
	var out []Action
	for key, h := range held {
		uid := h.Desired.Spec.ModelUID
		d, ok := wanted[key]
		switch {
		case slices.Contains(want.Frozen, uid): // 2
		case !ok: // 3
			if !h.Stopping {
				out = append(out, Action{Verb: VerbStop, Key: key})
			}
		case h.Stopping: // 4
		case !d.Displaced && (!sameEngine(&d, &h.Desired) || h.Failed && tryAgain(&d, &h.Desired)): // 5
			if h.Ready && rolling[uid] != key {
				continue
			}
			out = append(out, Action{VerbReplace, key, d})
		case !d.Displaced && (d.PlanVersion != h.Desired.PlanVersion || d.Generation != h.Desired.Generation): // 6
			out = append(out, Action{VerbRetarget, key, d})
		}
	}
	for key, d := range wanted { // 7
		if _, ok := held[key]; !ok && !d.Displaced && !slices.Contains(want.Frozen, d.Spec.ModelUID) {
			out = append(out, Action{VerbStart, key, d})
		}
	}
	slices.SortFunc(out, func(a, b Action) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

// rollingModels names, for each model with a changed wish, the one serving replica that may be replaced now: the first by
// key, and only while every other wanted replica of the model on this node serves.
func rollingModels(held map[string]Held, wanted map[string]api.DesiredReplica) map[string]string {
	turn := map[string]string{}
	blocked := map[string]bool{}
	for key, d := range wanted {
		if d.Displaced {
			continue // not one of those that the model serves by
		}
		uid := d.Spec.ModelUID
		h, ok := held[key]
		if !ok || !h.Ready || h.Stopping {
			blocked[uid] = true
			continue
		}
		if !sameEngine(&d, &h.Desired) && (turn[uid] == "" || key < turn[uid]) {
			turn[uid] = key
		}
	}
	for uid := range blocked {
		delete(turn, uid)
	}
	return turn
}

// sameEngine tells whether one engine process serves both wishes. Nearly always they are one and the same, which costs less to see.
func sameEngine(a, b *api.DesiredReplica) bool {
	return reflect.DeepEqual(a, b) || Fingerprint(*a) == Fingerprint(*b)
}

// tryAgain tells whether people have done something about a replica that failed.
func tryAgain(now, was *api.DesiredReplica) bool {
	return now.Generation != was.Generation || now.TokenVersion != was.TokenVersion || now.Spec.TokenSecret != was.Spec.TokenSecret
}

// Fingerprint is equal for two wishes exactly when the same engine process serves both. Plan version, labels, times
// and the secret for the download are not part of it.
func Fingerprint(d api.DesiredReplica) string {
	b, err := json.Marshal(struct {
		Name, Path, Engine, Image, Revision, Node string
		Source                                    api.ModelSource
		Files, Extra                              []string
		GPUs                                      []uint32
		Config                                    api.ModelConfig
	}{
		d.Spec.ModelName, d.Spec.ModelPath, engineOf(d), d.Spec.DockerImage, d.Spec.Revision, d.Assignment.NodeID,
		d.Spec.ModelSource, d.Spec.Files, d.Assignment.ExtraArgs, d.Assignment.GPUs(), d.Config,
	})
	if err != nil { // a NaN in the configuration; validation refuses it at the door
		b = []byte(err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// engineOf returns the engine of a wish: the assignment's when it names one, else the model's.
func engineOf(d api.DesiredReplica) string {
	if d.Assignment.EngineType != nil && *d.Assignment.EngineType != "" {
		return api.CanonicalEngine(*d.Assignment.EngineType)
	}
	return d.Spec.Engine()
}
