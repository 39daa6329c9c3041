package agent

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// HeldPull is a pull in hand, as its plan sees it.
type HeldPull struct {
	Wish     api.CacheWish // what it was begun for
	Over     bool          // complete, or failed for good
	Stopping bool
}

// HeldPurge is a purge that this agent has heard of.
type HeldPurge struct {
	Wish    api.CacheWish
	Since   time.Time // when it was first heard of
	Running bool
	Done    bool
	RetryAt time.Time // after one that failed
}

// HeldFiles is what an agent does about files beyond its replicas: pulls and purges by FilesID, and the repositories that replicas use.
type HeldFiles struct {
	Pulls  map[string]HeldPull
	Purges map[string]HeldPurge
	Used   []api.ModelSpec // by replicas of any state, those that are leaving included
}

// The verbs of wishes.
const (
	VerbPull      Verb = "pull"       // begin it
	VerbRenew     Verb = "renew"      // it was wished again while it runs: remember that
	VerbCancel    Verb = "cancel"     // stop it
	VerbPurge     Verb = "purge"      // carry it out
	VerbHalt      Verb = "halt"       // stop it: the files are wanted again
	VerbForget    Verb = "forget"     // its wish is gone, and nothing of it is left
	VerbHearPurge Verb = "hear-purge" // remember when it was first heard of
)

// WishAction is one step of a plan about wishes.
type WishAction struct {
	Verb Verb
	ID   string        // FilesID
	Wish api.CacheWish // not for VerbCancel, VerbHalt and VerbForget
}

// PlanWishes compares what people wish of the files here with what is under way and returns the steps, in order. It is pure.
//
// Pulls, in order of branches:
//  1. Nothing is known of the wish (revision 0): do nothing.
//  2. A held pull whose wish cannot be read: leave it alone.
//  3. Held and not wished: cancel it while it runs, forget it when it is over. One that is stopping is waited for.
//  4. Over, and wished again since: pull once more. Running, and wished again: renew.
//  5. Wished and not held: pull.
//
// Purges:
//  6. Known and not wished: halt it while it runs, then forget it.
//  7. Not heard of: remember since when. One life of the wish from now on it counts no more, whatever the clocks say.
//  8. Running, and not allowed any more: halt it.
//  9. Allowed, and neither done nor running nor waiting for its next try: purge.
func PlanWishes(want api.NodeDesired, held HeldFiles, now time.Time) []WishAction {
	if want.Revision == 0 { // 1
		return nil
	}
	pulls, purges := wishesByID(want, api.WishPull), wishesByID(want, api.WishPurge)
	var out []WishAction
	for id, h := range held.Pulls {
		w, wished := pulls[id]
		switch {
		case slices.Contains(want.FrozenWishes, string(api.WishPull)+"-"+id), h.Stopping: // 2
		case !wished && h.Over: // 3
			out = append(out, WishAction{Verb: VerbForget, ID: id})
		case !wished:
			out = append(out, WishAction{Verb: VerbCancel, ID: id})
		case w.CreatedAtMS != h.Wish.CreatedAtMS && h.Over: // 4
			out = append(out, WishAction{VerbPull, id, w})
		case w.CreatedAtMS != h.Wish.CreatedAtMS:
			out = append(out, WishAction{VerbRenew, id, w})
		}
	}
	for id, w := range pulls { // 5
		if _, ok := held.Pulls[id]; !ok {
			out = append(out, WishAction{VerbPull, id, w})
		}
	}
	for id, h := range held.Purges {
		if w, wished := purges[id]; wished && w.CreatedAtMS == h.Wish.CreatedAtMS {
			continue
		}
		verb := VerbForget // 6
		if h.Running {
			verb = VerbHalt
		}
		out = append(out, WishAction{Verb: verb, ID: id})
	}
	for id, w := range purges {
		h, ok := held.Purges[id]
		switch allowed := mayPurge(want, held, w) && !expired(w, h.Since, now); {
		case ok && w.CreatedAtMS != h.Wish.CreatedAtMS: // 6
		case !ok: // 7
			out = append(out, WishAction{VerbHearPurge, id, w})
		case h.Running && !allowed: // 8
			out = append(out, WishAction{Verb: VerbHalt, ID: id})
		case allowed && !h.Running && !h.Done && !now.Before(h.RetryAt): // 9
			out = append(out, WishAction{VerbPurge, id, w})
		}
	}
	slices.SortFunc(out, func(a, b WishAction) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Verb, b.Verb)) })
	return out
}

func wishesByID(want api.NodeDesired, kind api.WishKind) map[string]api.CacheWish {
	out := map[string]api.CacheWish{}
	for _, w := range want.CacheWishes {
		if w.Kind == kind && w.Spec.ModelSource != api.SourceLocal {
			out[w.Spec.FilesID()] = w
		}
	}
	return out
}

// mayPurge tells whether nothing here refers to the repository of a purge, as far as anybody knows: while a document cannot be read, nobody does.
func mayPurge(want api.NodeDesired, held HeldFiles, purge api.CacheWish) bool {
	uses := func(s api.ModelSpec) bool { return s.SameRepository(&purge.Spec) }
	return len(want.Frozen) == 0 && len(want.FrozenWishes) == 0 && !restored(want) &&
		!slices.ContainsFunc(held.Used, uses) &&
		!slices.ContainsFunc(want.Replicas, func(r api.DesiredReplica) bool { return uses(r.Spec) }) &&
		!slices.ContainsFunc(want.CacheWishes, func(w api.CacheWish) bool { return w.Kind != api.WishPurge && uses(w.Spec) }) &&
		!anyRuns(held.Pulls, uses)
}

func anyRuns(pulls map[string]HeldPull, uses func(api.ModelSpec) bool) bool {
	for _, p := range pulls {
		if !p.Over && uses(p.Wish.Spec) {
			return true
		}
	}
	return false
}

// expired tells whether a wish has lived as long as it was made for: by this machine's clock, or counted from when it was first heard of, whichever
// is sooner. A node that is cut off hears of no end.
func expired(w api.CacheWish, since, now time.Time) bool {
	life := time.Duration(w.ExpiresAtMS-w.CreatedAtMS) * time.Millisecond
	return now.UnixMilli() >= w.ExpiresAtMS || now.Sub(since) >= life
}

// Pins returns what is pinned, and whether that is all. While a pin cannot be read, or the cluster was put back to an earlier time and nobody has
// accepted that, it is not, and nothing that was pinned before is let go.
func Pins(want api.NodeDesired, last []api.ModelSpec) (pins []api.ModelSpec, all bool) {
	pins = []api.ModelSpec{}
	for _, w := range want.CacheWishes {
		if w.Kind == api.WishPin {
			pins = append(pins, w.Spec)
		}
	}
	unread := slices.ContainsFunc(want.FrozenWishes, func(id string) bool { return strings.HasPrefix(id, string(api.WishPin)+"-") })
	if !unread && !restored(want) {
		return pins, true
	}
	for _, s := range last {
		if !slices.ContainsFunc(pins, func(o api.ModelSpec) bool { return o.FilesID() == s.FilesID() }) {
			pins = append(pins, s)
		}
	}
	return pins, false
}

// restored tells whether the cluster was put back to an earlier time, and people have not said yet that it is right.
func restored(want api.NodeDesired) bool { return want.History != "" && !want.HistoryAccepted }

// Both returns what either of two lists wants. While a model's spec cannot be read, or a restored cluster may have forgotten some, what was wanted
// before stays wanted.
func Both(before, now []api.ModelSpec) []api.ModelSpec {
	out := slices.Clone(now)
	for _, b := range before {
		if !slices.ContainsFunc(out, func(s api.ModelSpec) bool { return s.FilesID() == b.FilesID() }) {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b api.ModelSpec) int { return strings.Compare(a.FilesID(), b.FilesID()) })
	return out
}

// Wanted returns the files that are wanted here now, by replicas that run or are to run, and by pulls.
func Wanted(want api.NodeDesired, held HeldFiles) []api.ModelSpec {
	out := slices.Clone(held.Used)
	for _, r := range want.Replicas {
		spec := r.Spec.FilesOnly()
		spec.EngineType = engineOf(r)
		out = append(out, spec)
	}
	for _, w := range want.CacheWishes {
		if w.Kind == api.WishPull {
			out = append(out, w.Spec)
		}
	}
	for _, p := range held.Pulls {
		out = append(out, p.Wish.Spec)
	}
	byID := make(map[string]api.ModelSpec, len(out))
	for _, spec := range out {
		id := spec.FilesID()
		if _, ok := byID[id]; !ok {
			byID[id] = spec
		}
	}
	out = out[:0]
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		spec := byID[id]
		spec.ModelUID = "" // files belong to no model alone
		out = append(out, spec)
	}
	return out
}
