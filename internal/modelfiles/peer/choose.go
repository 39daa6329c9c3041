package peer

import (
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// Times of choosing.
const (
	serversAway  = 3 * time.Second  // without an answer of theirs; then this node goes to the origin by itself
	stalledAfter = 15 * time.Second // without a byte, or news of one at the claim's holder
	holderTries  = 3                // failures in a row
	rest404      = 30 * time.Second // of a node that has the model, but not a blob
	rest404Part  = 5 * time.Second  // of one that is fetching the model, and may soon begin with the blob
	restEmpty    = time.Second      // of a node that has no more of it just now
	restLongest  = 30 * time.Second // of one that fails
)

// neighbour is another node, as it is known for one blob.
type neighbour struct {
	id, addr string
	whole    bool  // it has reported the whole model
	have     int64 // bytes from the beginning on, by its own last word; -1 = it has not been asked
	bad      bool  // it has sent wrong bytes
	fails    int   // in a row
	rest     time.Time
}

// standing is what is known of one blob at one time.
type standing struct {
	told   bool // servers have answered
	mine   bool
	holder string // of the claim; empty: nobody
	claim  int64  // its revision
	size   int64  // of the blob
	others []neighbour

	progress time.Time // of the last byte from another node, or news of one at the holder; at first, of the beginning
	silent   time.Time // since when no server has answered; zero: the last one did
	robbed   bool      // this node has taken the claim over once
	alone    bool      // it has given the others up for this blob
}

// verdict is what to do about a blob.
type verdict struct {
	origin bool
	from   string    // the node to read from
	until  time.Time // with neither: when to look again, unless servers tell before
	wish   api.ClaimWish
	over   int64 // the claim to take over
	alone  bool  // the others are given up for good
}

// next decides where the bytes of a blob come from. In order:
//
//  1. The others have been given up: the origin.
//  2. A node that may have the bytes and is not resting: that one. Whoever has the claim asks only those that are known to have all of the blob:
//     it is there to bring what nobody has.
//  3. The claim is this node's: the origin.
//  4. The claim's holder is alive and gets on: wait for it, or for another one's rest to end.
//  5. No server has answered for a while: the origin.
//  6. The holder is gone, fails or stands still: take its claim over; a second time, give the others up.
//  7. Nobody has the claim: ask for it, at once if nodes that should have the blob were of no use.
func next(s standing, now time.Time) verdict {
	if s.alone { // 1
		return verdict{origin: true}
	}
	for _, n := range s.others { // 2
		if !n.bad && !now.Before(n.rest) && (!s.mine || n.have >= s.size) {
			return verdict{from: n.id}
		}
	}
	if s.mine { // 3
		return verdict{origin: true}
	}
	stuck := holderStuck(s, now)
	if s.holder != "" && !stuck { // 4
		return verdict{until: soonest(s, s.progress.Add(stalledAfter), now)}
	}
	if !s.silent.IsZero() && now.Sub(s.silent) >= serversAway { // 5
		return verdict{origin: true}
	}
	soon := soonest(s, now.Add(serversAway), now)
	if s.holder != "" { // 6
		if s.robbed {
			return verdict{origin: true, alone: true}
		}
		return verdict{until: soon, over: s.claim}
	}
	if s.told { // 7
		return verdict{until: soon, wish: api.ClaimNow}
	}
	return verdict{until: soon, wish: api.ClaimNeeded}
}

// holderStuck tells that there is no use in waiting for who has the claim.
func holderStuck(s standing, now time.Time) bool {
	i := slices.IndexFunc(s.others, func(n neighbour) bool { return n.id == s.holder })
	return i < 0 || s.others[i].bad || s.others[i].fails >= holderTries || now.Sub(s.progress) >= stalledAfter
}

// soonest is when something may be different: by then, or when a node's rest ends.
func soonest(s standing, by, now time.Time) time.Time {
	for _, n := range s.others {
		if !n.bad && n.rest.After(now) && n.rest.Before(by) {
			by = n.rest
		}
	}
	if !s.silent.IsZero() {
		if t := s.silent.Add(serversAway); t.After(now) && t.Before(by) {
			by = t
		}
	}
	return by
}
