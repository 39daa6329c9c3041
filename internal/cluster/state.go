// Package cluster is the whole cluster as one immutable value, and the pure questions asked of it: what is the
// status of a model, what should a node run, what is free.
//
// Everything here is a function of its arguments, the time included. The package never reads the store, the network, the disk or
// a clock, and nobody changes a State once it is published.
package cluster

import (
	"github.com/nebula-serve/nebula/api"
)

// State is the cluster at one revision of the store. It is immutable: reading costs a pointer, and a newer cluster
// is another State. The zero State is an empty cluster.
type State struct {
	// Revision of the store up to which everything is in here.
	Revision    int64
	Models      Set[api.ModelSpec]        // by model uid: the stored ones, and those that only a request of version 1 declares
	Deployments Set[api.ModelDeployment]  // by model uid; the same
	Placements  Set[api.PlacementPlan]    // by model uid
	Templates   Set[api.ModelTemplate]    // by template id; the built-in ones are in package catalog
	Nodes       Set[api.NodeStatus]       // by node id
	Endpoints   Set[api.EndpointInfo]     // by "uid/replica"
	Downloads   Set[api.DownloadProgress] // by "uid/replica"
	Cache       Set[api.ModelCacheEntry]  // by "node/hash"
	Disks       Set[api.NodeDiskStatus]   // by node id
	Alerts      Set[api.DiskAlert]        // by "node/type"
	Wishes      Set[api.CacheWish]        // by "node/kind-files"
	Pulls       Set[api.CachePull]        // by "node/files"
	Members     Set[api.Member]           // by "role/id"
	JoinTokens  Set[api.JoinToken]        // by token id; digests only
	Secrets     Set[api.Secret]           // by name; sealed
	Info        Set[api.ClusterInfo]      // the one with api.ClusterInfoID
	BlobClaims  Set[api.BlobClaim]        // by hash
	Users       Set[api.User]             // by name
	Passwords   Set[api.Password]         // by user name; hashes
	APIKeys     Set[api.APIKey]           // by key id; hashes
	KeyUses     Set[api.KeyUse]           // by key id
	Sessions    Set[api.Session]          // by the hash of the cookie
	AuditHead   Set[api.AuditHead]        // the one with api.AuditHeadID
	Answered    Set[api.IdempotentAnswer] // by the hash of the request's key
	Requests    Set[api.ModelRequest]     // version 1's, by request id
	Images      Set[api.EngineImage]      // version 1's, by image id
	ImageStatus Set[api.NodeImageStatus]  // of an existing Nebula's nodes, by "node/image"

	// StoredModels and StoredDeployments are the documents as they are stored. Models and Deployments are made of them: see WithRequests.
	StoredModels      Set[api.ModelSpec]
	StoredDeployments Set[api.ModelDeployment]

	// Bad holds the stored values that cannot be decoded, by key. They are in none of the sets above, and nobody acts
	// as if they were absent: see Unreadable.
	Bad Set[BadValue]

	nodes    *nodeIndex    // of Placements, or out of date, or nil: see Indexed
	made     madeOf        // what Models and Deployments were made of: see WithRequests
	declared *requestIndex // of Requests, or out of date, or nil: see WithRequests
}

// BadValue is a stored value that cannot be decoded.
type BadValue struct {
	Key string
	Err string // why; never the value itself, which may hold anything
}
