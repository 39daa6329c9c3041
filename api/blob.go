package api

// MinSharedBlob is the size in bytes from which nodes get a file from each other: a smaller one costs less than asking who has it.
const MinSharedBlob = 8 << 20

// BlobClaim says which node fetches a file from its source for the whole cluster. It is under a lease of that node's, which ends soon after
// the node is gone. A blob is a file by its content: whatever model it belongs to.
type BlobClaim struct {
	Hash   string `json:"hash"` // hex: a SHA-256, or the git SHA-1 of a file that its source stores in git
	NodeID string `json:"node_id"`
	Size   int64  `json:"size"`
	Model  string `json:"model,omitempty"` // the repository in which the node met it, for people
}

// ClaimWish says when a node takes a claim that nobody has.
type ClaimWish string

// The wishes.
const (
	ClaimNever  ClaimWish = ""          // it only asks
	ClaimNeeded ClaimWish = "if_needed" // unless another node is known to have the whole model
	ClaimNow    ClaimWish = "now"       // the nodes that are known have been of no use
)

// BlobWant is one blob that a node fetches.
type BlobWant struct {
	Hash  string    `json:"hash"`
	Size  int64     `json:"size"`
	Model string    `json:"model"` // its repository, by which other nodes are found
	Claim ClaimWish `json:"claim,omitempty"`
	// Over is the revision of a claim that has given this node nothing for too long: the node takes it over, unless somebody else has by then.
	Over int64 `json:"over,omitempty"`
}

// BlobsAsk is what a node asks about the blobs that it fetches, the one first that it would rather fetch itself.
type BlobsAsk struct {
	Want List[BlobWant] `json:"want"`
	Drop []string       `json:"drop,omitempty"` // hashes of claims that the node does not need any more
	// Renew keeps all claims of the node; they last 30 s without.
	Renew bool `json:"renew,omitempty"`
	// Callers are machines that ask this node for files, and show certificates of nodes: are they members still?
	Callers []BlobCaller `json:"callers,omitempty"`
}

// BlobCaller is a node that asks another one for a file, by its certificate.
type BlobCaller struct {
	NodeID  string `json:"node_id"`
	KeyHash string `json:"key_hash"` // as in Member
}

// Limits of one BlobsAsk.
const (
	MaxBlobsAsked   = 32
	MaxBlobsDropped = 32
	MaxBlobCallers  = 32
)

// Validate tells what is wrong with an ask that came from a machine, or nil.
func (a *BlobsAsk) Validate() error {
	var p problems
	if len(a.Want) > MaxBlobsAsked {
		p.add("want", "has %d blobs, and at most %d may be asked for at once", len(a.Want), MaxBlobsAsked)
	}
	if len(a.Drop) > MaxBlobsDropped {
		p.add("drop", "has %d hashes, and at most %d may be given up at once", len(a.Drop), MaxBlobsDropped)
	}
	seen := map[string]bool{}
	for _, w := range a.Want {
		switch {
		case !ValidBlobHash(w.Hash):
			p.add("want", "has %q, which is no hash", clip(w.Hash))
		case seen[w.Hash]:
			p.add("want", "has %s twice", w.Hash)
		case w.Size < MinSharedBlob:
			p.add("want", "has %s of %d bytes: nodes share files from %d bytes on", w.Hash, w.Size, MinSharedBlob)
		case w.Model == "" || len(w.Model) > MaxNameBytes:
			p.add("want", "names no model for %s, or one of more than %d bytes", w.Hash, MaxNameBytes)
		case w.Claim != ClaimNever && w.Claim != ClaimNeeded && w.Claim != ClaimNow:
			p.add("want", "has the claim %q, which is unknown", clip(string(w.Claim)))
		}
		seen[w.Hash] = true
	}
	for _, h := range a.Drop {
		if !ValidBlobHash(h) {
			p.add("drop", "has %q, which is no hash", clip(h))
		}
	}
	if len(a.Callers) > MaxBlobCallers {
		p.add("callers", "has %d machines, and at most %d may be asked about at once", len(a.Callers), MaxBlobCallers)
	}
	return p.err("this is not a node's question about blobs")
}

// ValidBlobHash tells whether a hash is spelt as blobs are named: 40 or 64 lower-case hex digits.
func ValidBlobHash(hash string) bool {
	if len(hash) != 40 && len(hash) != 64 {
		return false
	}
	for i := range len(hash) {
		if c := hash[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// BlobsAnswer tells of each blob that was asked for, in that order.
type BlobsAnswer struct {
	Blobs List[BlobStanding] `json:"blobs"`
	// Strangers are those of the callers that are no nodes of the cluster any more.
	Strangers []BlobCaller `json:"strangers,omitempty"`
}

// BlobStanding is how a blob stands in the cluster, for one node.
type BlobStanding struct {
	Hash string `json:"hash"`
	Mine bool   `json:"mine,omitempty"` // this node has the claim: it fetches the blob from its source
	// Holder is the node that has the claim, and Claim the claim's revision; empty: nobody has it.
	Holder string `json:"holder,omitempty"`
	Claim  int64  `json:"claim,omitempty"`
	// Peers are nodes that may have the blob or a part of it, the likeliest first. One that does not says so when it is asked.
	Peers []BlobPeer `json:"peers,omitempty"`
}

// BlobPeer is a node that may have a blob.
type BlobPeer struct {
	NodeID string `json:"node_id"`
	Addr   string `json:"addr"`            // host:port of its port for machines
	Whole  bool   `json:"whole,omitempty"` // it has reported the whole model
}
