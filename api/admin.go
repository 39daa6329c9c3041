package api

// StoreStatus is the condition of the cluster's store.
type StoreStatus struct {
	Members  []StoreMember `json:"members"`
	Revision int64         `json:"revision"`
	// Bytes is the size of the largest member's database, QuotaBytes the one from which on the store takes no changes but deletions.
	Bytes      int64 `json:"bytes"`
	InUseBytes int64 `json:"in_use_bytes"` // the rest is given back by defragmentation
	QuotaBytes int64 `json:"quota_bytes"`
	Full       bool  `json:"full"`
	Leader     bool  `json:"leader"` // whether there is one: without, the store takes no changes
	// Next is what to do about what is wrong; empty when all is well.
	Next string `json:"next,omitempty"`
}

// StoreMember is one member of the store.
type StoreMember struct {
	ID         string `json:"id"`
	Name       string `json:"name,omitempty"` // empty while it has never started
	PeerURL    string `json:"peer_url,omitempty"`
	Role       string `json:"role"`    // leader, voter, or learner: it catches up before it votes
	Answers    bool   `json:"answers"` // the rest says something only then
	Version    string `json:"version,omitempty"`
	Revision   int64  `json:"revision,omitempty"`
	RaftIndex  uint64 `json:"raft_index,omitempty"` // grows with every entry of the store's log, heartbeats of machines make none
	Bytes      int64  `json:"bytes,omitempty"`
	InUseBytes int64  `json:"in_use_bytes,omitempty"`
}

// Roles of members of the store.
const (
	StoreLeader  = "leader"
	StoreVoter   = "voter"
	StoreLearner = "learner"
)
