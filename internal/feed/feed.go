// Package feed brings the store to gateways that run on machines of their own: the reading half of [store.KV] over HTTP, from any
// server. A gateway so runs the same [store.Store] as a server, over another KV.
//
// Only what routing needs goes out: an allow-list of prefixes, without secrets. It writes nothing, keeps nothing, and does not read
// what the values say, but for whether the caller is still a member.
package feed

import (
	"strings"

	"github.com/nebula-serve/nebula/internal/store"
)

// Path is where servers have it.
const Path = "/api/v2/feed"

// Prefixes returns what goes out to gateways, and what snapshots keep.
func Prefixes() []string { return store.RoutingPrefixes() }

// line is one line of an answer (newline-delimited JSON). The last line has End.
type line struct {
	Revision int64      `json:"revision,omitempty"` // what Batch or List says
	KVs      []keyValue `json:"kvs,omitempty"`      // of a list
	Events   []keyValue `json:"events,omitempty"`   // of a watch, whole transactions
	End      end        `json:"end,omitempty"`      // why no more follows
	Message  string     `json:"message,omitempty"`  // for people, with End
}

// keyValue is a store.KeyValue or a store.Event. Keys and values are any bytes.
type keyValue struct {
	Key     []byte `json:"k"`
	Value   []byte `json:"v,omitempty"`
	ModRev  int64  `json:"r"`
	Lease   int64  `json:"l,omitempty"`
	Deleted bool   `json:"d,omitempty"`
}

func (k keyValue) stored() store.KeyValue {
	kv := store.KeyValue{Key: string(k.Key), Value: k.Value, ModRev: k.ModRev, Lease: k.Lease}
	if kv.Value == nil && !k.Deleted {
		kv.Value = []byte{}
	}
	return kv
}

func wire(kv store.KeyValue, deleted bool) keyValue {
	return keyValue{Key: []byte(kv.Key), Value: kv.Value, ModRev: kv.ModRev, Lease: kv.Lease, Deleted: deleted}
}

// end says why an answer is over.
type end string

const (
	listed      end = "listed"      // the list is complete
	compacted   end = "compacted"   // list again
	unavailable end = "unavailable" // go on with this or another server
	removed     end = "removed"     // the caller is no member any more
)

// hasPrefix tells whether the key lies under one of the prefixes.
func hasPrefix(key string, of []string) bool {
	for _, p := range of {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}
