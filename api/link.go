package api

import (
	"encoding/json"
	"errors"
)

// NodeDesired is everything a node should run, complete: what is not listed is to be stopped. It is a value
// to compare with, not a message to obey once, so a lost or doubled copy does no harm.
type NodeDesired struct {
	NodeID   string               `json:"node_id"`
	Revision int64                `json:"revision"` // of the store; grows
	Replicas List[DesiredReplica] `json:"replicas"`
	// Frozen lists models of which a stored document cannot be read: whatever runs of them is left alone.
	Frozen []string `json:"frozen,omitempty"`
	// History is ClusterInfo.History; HistoryAccepted is ClusterInfo.HistoryAccepted.
	History         string `json:"history,omitempty"`
	HistoryAccepted bool   `json:"history_accepted,omitempty"`
	// Servers are the addresses (host:port) at which nodes reach the servers: any of them will do.
	Servers []string `json:"servers,omitempty"`
	// CacheWishes are what people wish of files on this node, complete: a pull that is not listed is to be cancelled, a pin to be lifted. Those of
	// FrozenWishes ("pin-1f…") are stored and cannot be read: the node holds to what it knew of them.
	CacheWishes  []CacheWish `json:"cache_wishes,omitempty"`
	FrozenWishes []string    `json:"frozen_wishes,omitempty"`
	// Stopped names the files of declared models that are not to run anywhere and that the node, whose disk is filling, may have: they are the last
	// to be deleted to make room. It may be older than the rest, because it decides about an order only.
	Stopped []ModelSpec `json:"stopped,omitempty"`
	// HeartbeatMS is how often the servers want a sign of life; 0 = as the node likes.
	HeartbeatMS int64 `json:"heartbeat_ms,omitempty"`
}

// UnmarshalJSON refuses an object without a node or a list of replicas: read as "run nothing", a stray answer would stop
// every engine of the node.
func (d *NodeDesired) UnmarshalJSON(b []byte) error {
	type plain NodeDesired
	var v plain
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if v.NodeID == "" || v.Replicas == nil {
		return errors.New("not what a node should run: node_id or replicas is missing")
	}
	for i := range v.Replicas {
		if r := &v.Replicas[i]; r.Spec.ModelUID == "" || r.Assignment.NodeID == "" {
			return errors.New("not what a node should run: a replica lacks its spec or its assignment")
		}
	}
	*d = NodeDesired(v)
	return nil
}

// DesiredReplica is one replica that a node should run.
type DesiredReplica struct {
	Spec        ModelSpec           `json:"spec"`
	Config      ModelConfig         `json:"config"` // the spec's configuration with the deployment's overrides
	Assignment  PlacementAssignment `json:"assignment"`
	PlanVersion uint64              `json:"plan_version"`
	// Generation is the deployment's version: a replica that failed for good is tried again when it grows.
	Generation uint64 `json:"generation"`
	// TokenVersion is the version of the secret that the spec names; 0 = there is none. With another one a replica that failed is tried again.
	TokenVersion uint64 `json:"token_version,omitempty"`
	// Displaced: another node has taken this replica's place while this one was away. It is kept if it runs, and never started: the
	// scheduler decides which of the two stays.
	Displaced bool `json:"displaced,omitempty"`
}

// Key returns "uid/replica".
func (d *DesiredReplica) Key() string { return EndpointKey(d.Spec.ModelUID, d.Assignment.ReplicaID) }

// NodeObserved is everything that is true on a node, complete: what is not listed is gone.
type NodeObserved struct {
	Node      NodeStatus             `json:"node"`
	Endpoints List[EndpointInfo]     `json:"endpoints"`
	Downloads List[DownloadProgress] `json:"downloads"`
	Cache     List[ModelCacheEntry]  `json:"cache"`
	Disk      *NodeDiskStatus        `json:"disk,omitempty"`
	Alerts    []DiskAlert            `json:"alerts,omitempty"`
	Pulls     []CachePull            `json:"pulls,omitempty"`
}

// UnmarshalJSON refuses a report that lacks a list, which would read as "all of these are gone".
func (o *NodeObserved) UnmarshalJSON(b []byte) error {
	type plain NodeObserved
	var v plain
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if v.Endpoints == nil || v.Downloads == nil || v.Cache == nil {
		return errors.New("not a node's report: endpoints, downloads or cache is missing")
	}
	*o = NodeObserved(v)
	return nil
}
