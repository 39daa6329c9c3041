package api

// MachineRole is what a machine does in a cluster.
type MachineRole string

// The roles of machines. A machine has one credential for each role that it has.
const (
	MachineServer  MachineRole = "server"
	MachineNode    MachineRole = "node"
	MachineGateway MachineRole = "gateway"
)

// MachineRoles lists the roles that a join token can be for.
func MachineRoles() []MachineRole { return []MachineRole{MachineNode, MachineServer, MachineGateway} }

// Member is a machine that belongs to the cluster. It is written when the machine joins and when people cordon, drain or remove it. Its
// credential counts as long as the document is there and names the credential's key.
type Member struct {
	Role       MachineRole `json:"role"`
	ID         string      `json:"id"`
	KeyHash    string      `json:"key_hash,omitempty"` // of the public key of its credential, hex; empty: the member lives in the server's own process
	Addr       string      `json:"addr,omitempty"`     // of a server: host:port at which machines reach it
	JoinedAtMS int64       `json:"joined_at_ms,omitempty"`
	// Cordoned: no new replica is placed on the node. Draining: cordoned, and its replicas move elsewhere one by one.
	Cordoned bool `json:"cordoned,omitempty"`
	Draining bool `json:"draining,omitempty"`
}

// Key returns "role/id", the member's name in the store.
func (m *Member) Key() string { return MemberKey(m.Role, m.ID) }

// MemberKey returns "role/id".
func MemberKey(role MachineRole, id string) string { return string(role) + "/" + id }

// JoinToken is a stored permission to join once. The store keeps only the digest of its secret, and forgets the token when it expires.
type JoinToken struct {
	ID          string      `json:"id"`
	For         MachineRole `json:"for"`
	Name        string      `json:"name,omitempty"` // the only id that may join with it; empty = any
	SecretHash  string      `json:"secret_hash"`    // SHA-256, hex
	CreatedAtMS int64       `json:"created_at_ms"`
	// ExpiresAtMS is when the token ends. So does the lease of the document, which may live longer than it was made for: etcd begins
	// leases anew after an election.
	ExpiresAtMS int64 `json:"expires_at_ms"`
}

// ClusterInfo is what makes a cluster this one. It is written at the first start and by a restore.
type ClusterInfo struct {
	ID          string `json:"id"` // for good, also after a restore
	CreatedAtMS int64  `json:"created_at_ms,omitempty"`
	// History names the line of revisions: a restore from a backup begins another one. Nodes that see it change keep what runs, also what
	// the cluster has forgotten, until people have said that the restored cluster is right.
	History string `json:"history"`
	// HistoryAccepted: people have said so. True from the start for the first history.
	HistoryAccepted bool  `json:"history_accepted"`
	RestoredAtMS    int64 `json:"restored_at_ms,omitempty"`
	// InheritedRevision is the store's revision when the cluster was made in it. What is not newer an existing Nebula has left: it is nobody's to clear away.
	InheritedRevision int64 `json:"inherited_revision,omitempty"`
	// KeyHash is the SHA-256, hex, of the admin credential, by which gateways on other machines know it. It is 256 random bits, so its digest
	// gives nothing away; people are not shown it all the same.
	KeyHash string `json:"key_hash,omitempty"`
	// Authority is the fingerprint of the authority that its machines' certificates are of.
	Authority string `json:"authority,omitempty"`
}

// ClusterInfoID is the id of the one ClusterInfo.
const ClusterInfoID = "info"

// CreateJoinToken asks for a join token.
type CreateJoinToken struct {
	For        MachineRole `json:"for"`
	Name       string      `json:"name,omitempty"`
	TTLSeconds int64       `json:"ttl_seconds,omitempty"` // 0 = 1800; at most 24 h
}

// JoinTokenCreated is the only answer that has the token itself.
type JoinTokenCreated struct {
	Token       string      `json:"token"`
	ID          string      `json:"id"`
	For         MachineRole `json:"for"`
	Name        string      `json:"name,omitempty"`
	ExpiresAtMS int64       `json:"expires_at_ms"`
}

// WithoutSecret is what a repeated request is answered.
func (t JoinTokenCreated) WithoutSecret() any {
	t.Token = ""
	return t
}

// JoinTokenView is a token in a list.
type JoinTokenView struct {
	ID          string      `json:"id"`
	For         MachineRole `json:"for"`
	Name        string      `json:"name,omitempty"`
	CreatedAtMS int64       `json:"created_at_ms"`
	ExpiresAtMS int64       `json:"expires_at_ms"`
}

// JoinRequest asks for the first credential of a machine. Only the token authenticates it.
type JoinRequest struct {
	Token   string      `json:"token"`
	Role    MachineRole `json:"role"`
	ID      string      `json:"id"`
	CSR     []byte      `json:"csr"`                // PKCS#10, DER
	Addr    string      `json:"addr,omitempty"`     // of a server: host:port at which machines will reach it
	PeerURL string      `json:"peer_url,omitempty"` // of a server with an embedded etcd: where its member will listen for the others
}

// JoinResponse is a machine's credential and what it needs to begin.
type JoinResponse struct {
	ClusterID string   `json:"cluster_id"`
	Cert      []byte   `json:"cert"` // DER
	CA        []byte   `json:"ca"`   // DER
	Servers   []string `json:"servers"`
	// Server is set for a new server only.
	Server *JoinServer `json:"server,omitempty"`
}

// JoinServer is what only servers get: the keys that make them one.
type JoinServer struct {
	CAKey []byte `json:"ca_key"` // PKCS#8, DER
	// EtcdCA and EtcdCAKey are the authority of etcd's members, apart from the cluster's, so that no node can ever speak to etcd.
	EtcdCA    []byte `json:"etcd_ca,omitempty"`
	EtcdCAKey []byte `json:"etcd_ca_key,omitempty"`
	// InitialCluster is etcd's own setting for a new member; empty when the cluster's etcd is external.
	InitialCluster string `json:"initial_cluster,omitempty"`
	// SecretsKey is what stored secrets are sealed with; empty: it is that of the cluster's first days, which every server can work out.
	SecretsKey []byte `json:"secrets_key,omitempty"`
	AdminToken string `json:"admin_token"` // so that a person's credential is good at every server
}

// RenewRequest asks for the next certificate of the caller's own identity.
type RenewRequest struct {
	CSR []byte `json:"csr"` // PKCS#10, DER, with the key of the credential that asks
}

// RenewResponse is the next certificate.
type RenewResponse struct {
	Cert    []byte   `json:"cert"` // DER
	Servers []string `json:"servers"`
}

// ClusterView is the cluster as a whole, for people.
type ClusterView struct {
	ClusterInfo
	Servers []ServerView `json:"servers"`
}

// ServerView is a server in a list.
type ServerView struct {
	ID   string `json:"id"`
	Addr string `json:"addr,omitempty"` // host:port at which machines reach it
}

// MemberRemoved answers a DELETE of a machine.
type MemberRemoved struct {
	Role   MachineRole `json:"role"`
	ID     string      `json:"id"`
	Status string      `json:"status"` // "removed"
}

// JoinTokenRevoked answers a DELETE of a join token.
type JoinTokenRevoked struct {
	ID     string `json:"id"`
	Status string `json:"status"` // "revoked"
}

// NodeHeartbeat says that nothing has changed on a node since its report of that number. The server answers conflict when the cluster
// does not show that report: the node then sends it whole.
type NodeHeartbeat struct {
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// NodeState is how a node stands towards the cluster, as the observer sees it.
type NodeState string

// The states of a node.
const (
	NodeReady  NodeState = "ready"
	NodeCutOff NodeState = "cut_off" // it does not report; its replicas keep their place
	NodeLost   NodeState = "lost"    // it has not reported for so long that its replicas get another place
)
