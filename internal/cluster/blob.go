package cluster

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"hash/fnv"
	"slices"

	"github.com/nebula-serve/nebula/api"
)

// maxBlobPeers bounds the nodes that one answer names: a reader needs one, and each of them takes few readers.
const maxBlobPeers = 12

// CacheSuffix is the first 16 hex digits of SHA-256(model_name), the contract's key of a cache entry below its node.
func CacheSuffix(model string) string {
	sum := sha256.Sum256([]byte(model))
	return hex.EncodeToString(sum[:8])
}

// BlobStandings tells the node self how the blobs stand that it asks for. Nodes are known to have a blob by its claim, and to have it
// perhaps by the name of its model: in their caches, or in their running downloads. Only nodes that are alive and have a port are named.
func BlobStandings(s *State, self string, want []api.BlobWant) []api.BlobStanding {
	byModel := map[string][]api.BlobPeer{}
	out := make([]api.BlobStanding, 0, len(want))
	for _, w := range want {
		peers, known := byModel[w.Model]
		if !known {
			peers = modelPeers(s, self, w.Model)
			byModel[w.Model] = peers
		}
		b := api.BlobStanding{Hash: w.Hash, Peers: peers}
		if c, ok := s.BlobClaims.Get(w.Hash); ok {
			b.Holder, b.Claim, b.Mine = c.Value.NodeID, c.Rev, c.Value.NodeID == self
			b.Peers = holderFirst(s, self, b.Holder, peers)
		}
		out = append(out, b)
	}
	return out
}

// holderFirst puts a claim's holder before the nodes that only may have the blob.
func holderFirst(s *State, self, holder string, peers []api.BlobPeer) []api.BlobPeer {
	addr := blobAddr(s, holder)
	if holder == self || addr == "" {
		return peers
	}
	first := api.BlobPeer{NodeID: holder, Addr: addr}
	rest := make([]api.BlobPeer, 0, len(peers)+1)
	for _, p := range peers {
		if p.NodeID == holder {
			first = p
		} else {
			rest = append(rest, p)
		}
	}
	return slices.Insert(rest, 0, first)
}

// modelPeers returns nodes that have a model, or are fetching it: those with all of it first, and among equals an order of its own for each
// asking node, so that the nodes of a large fleet do not all ask the same few.
func modelPeers(s *State, self, model string) []api.BlobPeer {
	suffix := CacheSuffix(model)
	var whole, part []api.BlobPeer
	seen := map[string]bool{self: true}
	for _, n := range s.Nodes.Refs() {
		if n.Value.APIAddr == "" || seen[n.ID] {
			continue
		}
		if c, ok := s.Cache.Value(n.ID + "/" + suffix); ok && c.ModelName == model {
			seen[n.ID] = true
			p := api.BlobPeer{NodeID: n.ID, Addr: n.Value.APIAddr, Whole: c.Complete}
			if p.Whole {
				whole = append(whole, p)
			} else {
				part = append(part, p)
			}
		}
	}
	fetching := func(d *api.DownloadProgress) {
		if addr := blobAddr(s, d.NodeID); addr != "" && !seen[d.NodeID] {
			seen[d.NodeID] = true
			part = append(part, api.BlobPeer{NodeID: d.NodeID, Addr: addr})
		}
	}
	for _, m := range s.Models.Refs() {
		if m.Value.ModelName != model {
			continue
		}
		for d := range s.Downloads.Prefix(m.ID + "/") {
			fetching(&d.Value)
		}
	}
	for _, p := range s.Pulls.Refs() {
		if p.Value.ModelName == model {
			fetching(&p.Value.DownloadProgress)
		}
	}
	shuffle(whole, self)
	shuffle(part, self)
	all := append(whole, part...)
	return all[:min(len(all), maxBlobPeers)]
}

// shuffle orders peers by a hash of both names.
func shuffle(peers []api.BlobPeer, self string) {
	rank := make(map[string]uint64, len(peers))
	for _, p := range peers {
		h := fnv.New64a()
		_, _ = h.Write([]byte(self + "\x00" + p.NodeID)) // a hash takes everything
		// Names differ in their last letters, which this hash leaves in its low bits: the high ones get their share.
		x := h.Sum64()
		x = (x ^ x>>32) * 0x9e3779b97f4a7c15
		rank[p.NodeID] = x ^ x>>32
	}
	slices.SortFunc(peers, func(a, b api.BlobPeer) int { return cmp.Compare(rank[a.NodeID], rank[b.NodeID]) })
}

func blobAddr(s *State, node string) string {
	n, _ := s.Nodes.Value(node)
	return n.APIAddr
}

// BlobGrants returns those of the wanted blobs whose claims the node may take now, in the order in which it wants them.
//
// A claim is free, or it is the one that the node has got nothing from for too long. Unless the node is alone it takes one at a time, so that
// nodes which start together on the files of one model fetch different ones.
func BlobGrants(s *State, self string, want []api.BlobWant, standings []api.BlobStanding) []api.BlobWant {
	alone := !othersWithPort(s, self)
	var out []api.BlobWant
	for i, w := range want {
		b := standings[i]
		if b.Mine || !claimable(w, b) {
			continue
		}
		if out = append(out, w); !alone {
			break
		}
	}
	return out
}

func claimable(w api.BlobWant, b api.BlobStanding) bool {
	if b.Holder != "" {
		return w.Over != 0 && w.Over == b.Claim
	}
	switch w.Claim {
	case api.ClaimNow:
		return true
	case api.ClaimNeeded:
		return !slices.ContainsFunc(b.Peers, func(p api.BlobPeer) bool { return p.Whole })
	}
	return false
}

func othersWithPort(s *State, self string) bool {
	for n := range s.Nodes.All() {
		if n.ID != self && n.Value.APIAddr != "" {
			return true
		}
	}
	return false
}

// Strangers returns those of the callers that are no nodes of the cluster, or have joined again with another key since. A node in a server's own
// process has no key in its document.
func Strangers(s *State, callers []api.BlobCaller) []api.BlobCaller {
	var out []api.BlobCaller
	for _, c := range callers {
		m, ok := s.Members.Value(api.MemberKey(api.MachineNode, c.NodeID))
		if !ok || m.KeyHash != "" && m.KeyHash != c.KeyHash {
			out = append(out, c)
		}
	}
	return out
}
