package httpapi

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// v1Overview is the cluster in the documents of version 1.
func v1Overview(s *cluster.State, absent map[string]time.Duration, now time.Time) api.V1Overview {
	var out api.V1Overview
	for _, e := range s.Nodes.Refs() {
		out.Nodes = append(out.Nodes, v1Node(&e.Value, absent[e.ID], now))
	}
	for _, e := range s.Endpoints.Refs() {
		out.Endpoints = append(out.Endpoints, v1Endpoint(&e.Value))
	}
	for _, e := range s.Placements.Refs() {
		out.Placements = append(out.Placements, v1Placement(s, &e.Value))
	}
	out.ModelRequests = v1Requests(s, now)
	return out
}

// v1Node shows a node. Ours writes its document when something changes, and not with every sign of life; old clients read the time in it as that of
// the last one. That is now, for a node that this server does not miss.
func v1Node(n *api.NodeStatus, away time.Duration, now time.Time) api.V1NodeStatus {
	out := api.V1NodeStatus{NodeID: n.NodeID, LastHeartbeatMS: max(n.LastHeartbeatMS, now.Add(-away).UnixMilli()), APIAddr: n.APIAddr}
	for _, g := range n.GPUs {
		out.GPUs = append(out.GPUs, api.V1GPUStatus{
			Index: g.Index, MemoryTotalMB: g.MemoryTotalMB, MemoryUsedMB: g.MemoryUsedMB, TemperatureC: g.TemperatureC, UtilizationGPU: g.UtilizationGPU,
		})
	}
	return out
}

func v1Endpoint(e *api.EndpointInfo) api.V1EndpointInfo {
	return api.V1EndpointInfo{
		ModelUID: e.ModelUID, ReplicaID: e.ReplicaID, PlanVersion: e.PlanVersion, NodeID: e.NodeID, EndpointKind: cmp.Or(e.EndpointKind, "native_http"),
		APIFlavor: cmp.Or(e.APIFlavor, "openai"), Status: e.Status, LastHeartbeatMS: e.LastHeartbeatMS, GRPCTarget: e.GRPCTarget, BaseURL: e.BaseURL,
	}
}

// v1Placement shows a plan. The request that declares a model is named where there is one and no stored model has taken its place.
func v1Placement(s *cluster.State, p *api.PlacementPlan) api.V1PlacementPlan {
	out := api.V1PlacementPlan{RequestID: p.RequestID, ModelUID: p.ModelUID, ModelName: p.ModelName, Version: p.Version}
	if id, ok := cluster.Speaks(s, p.ModelUID); ok && out.RequestID == nil && !s.StoredModels.Has(p.ModelUID) {
		out.RequestID = &id
	}
	for i := range p.Assignments {
		a := &p.Assignments[i]
		out.Assignments = append(out.Assignments, api.V1Assignment{
			ReplicaID: a.ReplicaID, NodeID: a.NodeID, EngineConfigPath: a.EngineConfigPath, Port: a.Port, GPUIndex: firstGPU(a.GPUs()), GPUIndices: a.GPUs(),
			ExtraArgs: a.ExtraArgs, EngineType: a.EngineType, DockerImage: a.DockerImage,
		})
	}
	return out
}

func firstGPU(of []uint32) *uint32 {
	if len(of) == 0 {
		return nil
	}
	return &of[0]
}

// v1Requests shows the requests, each with how its model stands: the stored status is only what was wished.
func v1Requests(s *cluster.State, now time.Time) []api.ModelRequest {
	out := make([]api.ModelRequest, 0, s.Requests.Len())
	for _, e := range s.Requests.Refs() {
		r := e.Value
		r.Status = v1Status(s, &r, now)
		out = append(out, r)
	}
	return out
}

// v1Status tells where a request stands, in the words of version 1, in which a model that has its places is Scheduled, however far it is.
func v1Status(s *cluster.State, r *api.ModelRequest, now time.Time) api.RequestStatus {
	if r.Status.Phase == api.RequestUnloading || r.Status.Phase == api.RequestFailed {
		return r.Status
	}
	uid := r.Request.ModelUID
	if !api.KnownUID(uid) {
		return api.RequestStatus{Phase: api.RequestFailed, Reason: "its model_uid cannot be any model's: unload it, and load the model under another one"}
	}
	status := cluster.Status(s, uid, now)
	if status.State == api.StateFailed {
		reason := "it failed"
		if status.Reason != nil {
			reason = status.Reason.Message
		}
		return api.RequestStatus{Phase: api.RequestFailed, Reason: reason}
	}
	if plan, ok := s.Placements.Value(uid); ok && len(plan.Assignments) > 0 {
		return api.RequestStatus{Phase: api.RequestScheduled}
	}
	return api.RequestStatus{Phase: api.RequestPending}
}

// v1Users is the name space of the ids of users in version 1.
var v1Users = uuid.MustParse("7b0f6f0e-3b0a-5c68-9d44-6a8c0c5f4b21")

// v1UserID is what version 1 calls a user by: a UUID that is always the same, and another one for a user of the same name later.
func v1UserID(u *api.User) string {
	return uuid.NewSHA1(v1Users, []byte(u.Name+"\x00"+strconv.FormatInt(u.CreatedAtMS, 10))).String()
}

func v1User(u *api.User) api.V1User {
	return api.V1User{ID: v1UserID(u), Username: u.Name, Role: u.Role, DisplayName: orNull(u.DisplayName), Email: orNull(u.Email)}
}

// v1Role reads a role as version 1 does, in any case.
func v1Role(r api.Role) api.Role { return api.Role(strings.ToLower(string(r))) }

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func valueOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// v1Stats shows the figures of an engine. Version 1 writes a ratio as parts of a million, and calls them bytes.
func v1Stats(f *api.ReplicaFigures) api.V1EndpointStats {
	out := api.V1EndpointStats{ModelUID: f.ModelUID, ReplicaID: f.ReplicaID, LastUpdatedMS: f.AtMS}
	for _, n := range []*float64{f.RequestsRunning, f.RequestsWaiting} {
		if n != nil && *n > 0 && *n < 1<<53 {
			out.PendingRequests += uint64(*n)
		}
	}
	if f.KVUsedRatio != nil {
		used := uint64(min(max(*f.KVUsedRatio, 0), 1)*v1Ratio + 0.5)
		free := v1Ratio - used
		out.KVCacheUsedBytes, out.KVCacheFreeBytes = &used, &free
	}
	return out
}

// v1Ratio is the whole of a ratio in version 1.
const v1Ratio = 1_000_000
