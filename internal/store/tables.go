package store

import (
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// Owner is who writes a table. Every table has exactly one.
type Owner string

// The owners.
const (
	OwnerControl   Owner = "control"   // people, through the API
	OwnerScheduler Owner = "scheduler" // the leader
	OwnerNode      Owner = "node"      // a node, through the server
	OwnerGateway   Owner = "gateway"   // a gateway, in a server or through one
)

type check = func(string) bool

// The tables, with the key of a document in the contract's spelling.
var (
	// Models holds what models are: /models/{uid}/spec.
	Models = Table[api.ModelSpec]{
		name: "model spec", owner: OwnerControl,
		keys:   layout{"/models/", []check{api.KnownUID}, "/spec"},
		set:    func(s *cluster.State) *cluster.Set[api.ModelSpec] { return &s.StoredModels },
		claims: func(id string, v *api.ModelSpec) bool { return v.ModelUID == id },
	}
	// Deployments holds the wishes to run models: /deployments/{uid}.
	Deployments = Table[api.ModelDeployment]{
		name: "deployment", owner: OwnerControl,
		keys:   layout{"/deployments/", []check{api.KnownUID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.ModelDeployment] { return &s.StoredDeployments },
		claims: func(id string, v *api.ModelDeployment) bool { return v.ModelUID == id },
	}
	// Requests holds version 1's declarations of models: /model_requests/{id}. Old clients write them into the store directly, too.
	Requests = Table[api.ModelRequest]{
		name: "request", owner: OwnerControl,
		keys:   layout{"/model_requests/", []check{api.ValidNodeID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.ModelRequest] { return &s.Requests },
		claims: func(id string, v *api.ModelRequest) bool { return v.ID == id },
	}
	// Templates holds the templates that people wrote: /templates/{id}.
	Templates = Table[api.ModelTemplate]{
		name: "template", owner: OwnerControl,
		keys:   layout{"/templates/", []check{api.KnownUID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.ModelTemplate] { return &s.Templates },
		claims: func(id string, v *api.ModelTemplate) bool { return v.TemplateID == id },
	}
	// Images holds container images that are kept for an existing Nebula: /images/{id}.
	Images = Table[api.EngineImage]{
		name: "image", owner: OwnerControl,
		keys:   layout{"/images/", []check{api.ValidNodeID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.EngineImage] { return &s.Images },
		claims: func(id string, v *api.EngineImage) bool { return v.ID == id },
	}
	// ImageStatus holds how they stand on its nodes, which write it themselves; here it is only deleted: /image_status/{node}/{id}.
	ImageStatus = Table[api.NodeImageStatus]{
		name: "image status", owner: OwnerControl,
		keys:   layout{"/image_status/", []check{api.ValidNodeID, api.ValidNodeID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.NodeImageStatus] { return &s.ImageStatus },
		claims: func(id string, v *api.NodeImageStatus) bool { return v.Key() == id },
	}
	// Placements holds where replicas run: /placements/{uid}.
	Placements = Table[api.PlacementPlan]{
		name: "placement", owner: OwnerScheduler,
		keys:   layout{"/placements/", []check{api.KnownUID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.PlacementPlan] { return &s.Placements },
		claims: func(id string, v *api.PlacementPlan) bool { return v.ModelUID == id },
	}
	// Nodes holds the machines that are alive, under their leases: /nodes/{id}/status.
	Nodes = Table[api.NodeStatus]{
		name: "node status", owner: OwnerNode,
		keys:   layout{"/nodes/", []check{api.ValidNodeID}, "/status"},
		set:    func(s *cluster.State) *cluster.Set[api.NodeStatus] { return &s.Nodes },
		claims: func(id string, v *api.NodeStatus) bool { return v.NodeID == id },
	}
	// Endpoints holds the replicas that exist, under their nodes' leases: /endpoints/{uid}/{replica}.
	Endpoints = Table[api.EndpointInfo]{
		name: "endpoint", owner: OwnerNode,
		keys:   layout{"/endpoints/", []check{api.KnownUID, replicaNumber}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.EndpointInfo] { return &s.Endpoints },
		claims: func(id string, v *api.EndpointInfo) bool { return v.Key() == id },
	}
	// Downloads holds the downloads that go on: /download_progress/{uid}/{replica}.
	Downloads = Table[api.DownloadProgress]{
		name: "download", owner: OwnerNode,
		keys:   layout{"/download_progress/", []check{api.KnownUID, replicaNumber}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.DownloadProgress] { return &s.Downloads },
		claims: func(id string, v *api.DownloadProgress) bool { return v.Key() == id },
	}
	// Cache holds the models on a node's disk: /model_cache/{node}/{suffix}. Nebula writes the first 16 hex digits
	// of SHA-256(model_name) as suffix; older data has the name itself with "--" for "/", so any legal segment is read.
	Cache = Table[api.ModelCacheEntry]{
		name: "cache entry", owner: OwnerNode,
		keys:   layout{"/model_cache/", []check{api.ValidNodeID, api.ValidNodeID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.ModelCacheEntry] { return &s.Cache },
		claims: func(id string, v *api.ModelCacheEntry) bool { return strings.HasPrefix(id, v.NodeID+"/") },
	}
	// Disks holds the nodes' model disks: /node_disk/{node}.
	Disks = Table[api.NodeDiskStatus]{
		name: "disk status", owner: OwnerNode,
		keys:   layout{"/node_disk/", []check{api.ValidNodeID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.NodeDiskStatus] { return &s.Disks },
		claims: func(id string, v *api.NodeDiskStatus) bool { return v.NodeID == id },
	}
	// Alerts holds the conditions that a node complains of: /alerts/{node}/{type}.
	Alerts = Table[api.DiskAlert]{
		name: "alert", owner: OwnerNode,
		keys:   layout{"/alerts/", []check{api.ValidNodeID, api.KnownUID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.DiskAlert] { return &s.Alerts },
		claims: func(id string, v *api.DiskAlert) bool { return v.NodeID+"/"+v.AlertType == id },
	}
	// CacheWishes holds what people wish of the files on a node: /cache_wishes/{node}/{kind}-{files}. A pull and a purge end with their leases.
	CacheWishes = Table[api.CacheWish]{
		name: "cache wish", owner: OwnerControl,
		keys:   layout{"/cache_wishes/", []check{api.ValidNodeID, api.KnownUID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.CacheWish] { return &s.Wishes },
		claims: func(id string, v *api.CacheWish) bool { return v.Known() && v.Key() == id },
	}
	// CachePulls holds how pulls stand, those that move under a lease of progress: /cache_pulls/{node}/{files}.
	CachePulls = Table[api.CachePull]{
		name: "pull", owner: OwnerNode,
		keys:   layout{"/cache_pulls/", []check{api.ValidNodeID, api.KnownUID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.CachePull] { return &s.Pulls },
		claims: func(id string, v *api.CachePull) bool { return v.Key() == id },
	}
	// Members holds the machines that belong to the cluster: /members/{role}/{id}.
	Members = Table[api.Member]{
		name: "member", owner: OwnerControl,
		keys:   layout{"/members/", []check{api.KnownUID, api.ValidNodeID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.Member] { return &s.Members },
		claims: func(id string, v *api.Member) bool { return v.Key() == id },
	}
	// JoinTokens holds permissions to join, each under a lease of its own: /join_tokens/{id}.
	JoinTokens = Table[api.JoinToken]{
		name: "join token", owner: OwnerControl,
		keys:   layout{"/join_tokens/", []check{api.KnownUID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.JoinToken] { return &s.JoinTokens },
		claims: func(id string, v *api.JoinToken) bool { return v.ID == id }, private: []string{"secret_hash"},
	}
	// Secrets holds what people entrust to the cluster, sealed: /secrets/{name}. Neither the values nor the documents leave the servers.
	Secrets = Table[api.Secret]{
		name: "secret", owner: OwnerControl,
		keys:   layout{"/secrets/", []check{api.ValidSecretName}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.Secret] { return &s.Secrets },
		claims: func(id string, v *api.Secret) bool { return v.Name == id }, private: []string{"sealed"},
	}
	// Info holds what makes this cluster this one: /cluster/info.
	Info = Table[api.ClusterInfo]{
		name: "cluster info", owner: OwnerControl,
		keys:   layout{"/cluster/", []check{api.KnownUID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.ClusterInfo] { return &s.Info },
		claims: func(_ string, v *api.ClusterInfo) bool { return v.ID != "" },
	}
	// Users holds people: /auth/users/{name}.
	Users = Table[api.User]{
		name: "user", owner: OwnerControl,
		keys:   layout{"/auth/users/", []check{api.ValidUserName}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.User] { return &s.Users },
		claims: func(id string, v *api.User) bool { return v.Name == id },
	}
	// Passwords holds the hashes of people's passwords: /auth/passwords/{name}. They stay on servers.
	Passwords = Table[api.Password]{
		name: "password", owner: OwnerControl,
		keys:   layout{"/auth/passwords/", []check{api.ValidUserName}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.Password] { return &s.Passwords },
		claims: func(id string, v *api.Password) bool { return v.Name == id }, private: []string{"hash"},
	}
	// APIKeys holds the hashes of keys, and what those may do: /auth/keys/{id}.
	APIKeys = Table[api.APIKey]{
		name: "key", owner: OwnerControl,
		keys:   layout{"/auth/keys/", []check{api.KnownUID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.APIKey] { return &s.APIKeys },
		claims: func(id string, v *api.APIKey) bool { return v.ID == id }, private: []string{"secret_hash", "former_hash"},
	}
	// KeyUses holds when keys were used last: /auth/key_use/{id}.
	KeyUses = Table[api.KeyUse]{
		name: "key use", owner: OwnerGateway,
		keys:   layout{"/auth/key_use/", []check{api.KnownUID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.KeyUse] { return &s.KeyUses },
		claims: func(id string, v *api.KeyUse) bool { return v.ID == id },
	}
	// Sessions holds browsers' logins, each under a lease of its own: /auth/sessions/{hash}.
	Sessions = Table[api.Session]{
		name: "session", owner: OwnerControl,
		keys:   layout{"/auth/sessions/", []check{digest}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.Session] { return &s.Sessions },
		claims: func(id string, v *api.Session) bool { return v.ID == id }, private: []string{"id"},
	}
	// AuditHead holds the end of the audit log's chain: /audit_head/last.
	AuditHead = Table[api.AuditHead]{
		name: "audit head", owner: OwnerControl,
		keys:   layout{"/audit_head/", []check{api.KnownUID}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.AuditHead] { return &s.AuditHead },
		claims: func(id string, _ *api.AuditHead) bool { return id == api.AuditHeadID },
	}
	// Answered holds what creates with an Idempotency-Key were answered, under leases of a day: /idempotency/{hash}.
	Answered = Table[api.IdempotentAnswer]{
		name: "answer", owner: OwnerControl,
		keys:   layout{"/idempotency/", []check{digest}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.IdempotentAnswer] { return &s.Answered },
		claims: func(id string, v *api.IdempotentAnswer) bool { return v.ID == id }, private: []string{"result"},
	}
	// BlobClaims holds which node fetches a blob from its source, under leases of those nodes: /blob_claims/{hash}.
	BlobClaims = Table[api.BlobClaim]{
		name: "blob claim", owner: OwnerNode,
		keys:   layout{"/blob_claims/", []check{api.ValidBlobHash}, ""},
		set:    func(s *cluster.State) *cluster.Set[api.BlobClaim] { return &s.BlobClaims },
		claims: func(id string, v *api.BlobClaim) bool { return v.Hash == id && api.ValidNodeID(v.NodeID) },
	}
)

// Prefixes of histories: records that are written once and are in no State.
const (
	AuditPrefix  = "/audit/"  // the audit log: /audit/{sequence number, 20 digits}
	EventsPrefix = "/events/" // what happened to models: /events/{uid}/{id}
)

// HistoryPrefixes returns the prefixes of histories.
func HistoryPrefixes() []string { return []string{AuditPrefix, EventsPrefix} }

// RoutingPrefixes returns the keys that whoever routes requests needs. No secret is under any of them: of keys there are hashes.
func RoutingPrefixes() []string {
	var out []string
	for _, k := range []kind{&Models, &Deployments, &Requests, &Placements, &Nodes, &Endpoints, &Members, &Info, &Users, &APIKeys} {
		out = append(out, k.prefix())
	}
	return out
}

// kinds lists every table of the State, by the first segment of its keys. Keys that start otherwise (the
// leader's /leader) are not the State's business.
func kinds() map[string]kind {
	m := map[string]kind{}
	for _, k := range []kind{
		&Models, &Deployments, &Templates, &Placements, &Nodes, &Endpoints, &Downloads, &Cache, &Disks, &Alerts,
		&CacheWishes, &CachePulls, &Members, &JoinTokens, &Secrets, &Info, &BlobClaims,
		&Users, &Passwords, &APIKeys, &KeyUses, &Sessions, &AuditHead, &Answered, &Requests, &Images, &ImageStatus,
	} {
		m[strings.Trim(k.prefix(), "/")] = k
	}
	return m
}
