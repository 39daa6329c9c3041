package httpapi

import (
	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/live"
)

// The orders in which people look at lists. The first of each is that of the ids; what is not known comes first.

func modelOrders() []sorting[*live.Item] {
	return []sorting[*live.Item]{
		{field: "uid"},
		{"name", func(i **live.Item) string { return (*i).Sort.Name }},
		{"state", func(i **live.Item) string { return string((*i).Facts().State) }},
		{"engine", func(i **live.Item) string { return (*i).Facts().Engine }},
		{"replicas", func(i **live.Item) string { return upward((*i).Sort.Replicas) }},
		{"created", func(i **live.Item) string { return upward((*i).Sort.Created) }},
		{"updated", func(i **live.Item) string { return upward((*i).Sort.Updated) }},
	}
}

func nodeOrders() []sorting[api.NodeView] {
	return []sorting[api.NodeView]{
		{field: "id"},
		{"state", func(n *api.NodeView) string { return string(n.State) }},
		{"replicas", func(n *api.NodeView) string { return upward(len(n.Replicas)) }},
		{"memory_free", func(n *api.NodeView) string { return upward(n.MemoryFreeMB) }},
		{"disk_used", func(n *api.NodeView) string {
			if n.Disk == nil {
				return ""
			}
			return upward(uint64(n.Disk.UsagePct * 1e6))
		}},
	}
}

func endpointOrders() []sorting[api.EndpointInfo] {
	return []sorting[api.EndpointInfo]{
		{field: "model"},
		{"node", func(e *api.EndpointInfo) string { return e.NodeID }},
		{"status", func(e *api.EndpointInfo) string { return string(e.Status) }},
		{"started", func(e *api.EndpointInfo) string { return upward(e.StartedAtMS) }},
		{"restarts", func(e *api.EndpointInfo) string { return upward(e.Restarts) }},
	}
}

func cacheOrders() []sorting[api.CacheEntryView] {
	return []sorting[api.CacheEntryView]{
		{field: "name"},
		{"size", func(e *api.CacheEntryView) string { return upward(e.SizeBytes) }},
		{"accessed", func(e *api.CacheEntryView) string { return upward(e.LastAccessedMS) }},
	}
}

func templateOrders() []sorting[api.ModelTemplate] {
	return []sorting[api.ModelTemplate]{
		{field: "id"},
		{"name", func(t *api.ModelTemplate) string { return folded(t.Name) }},
		{"category", func(t *api.ModelTemplate) string { return string(t.Category) }},
		{"source", func(t *api.ModelTemplate) string { return string(t.Source) }},
		{"memory", func(t *api.ModelTemplate) string { return upward(t.MemoryBytes) }},
		{"created", func(t *api.ModelTemplate) string { return upward(t.CreatedAtMS) }},
		{"updated", func(t *api.ModelTemplate) string { return upward(t.UpdatedAtMS) }},
	}
}

func userOrders() []sorting[api.User] {
	return []sorting[api.User]{
		{field: "name"},
		{"role", func(u *api.User) string { return string(u.Role) }},
		{"created", func(u *api.User) string { return upward(u.CreatedAtMS) }},
		{"updated", func(u *api.User) string { return upward(u.UpdatedAtMS) }},
	}
}

func keyOrders() []sorting[api.KeyView] {
	return []sorting[api.KeyView]{
		{field: "id"},
		{"name", func(k *api.KeyView) string { return folded(k.Name) }},
		{"owner", func(k *api.KeyView) string { return k.Owner }},
		{"role", func(k *api.KeyView) string { return string(k.Role) }},
		{"state", func(k *api.KeyView) string { return string(k.State) }},
		{"created", func(k *api.KeyView) string { return upward(k.CreatedAtMS) }},
		{"expires", func(k *api.KeyView) string {
			if k.ExpiresAtMS == 0 {
				return "never" // after all numbers
			}
			return upward(k.ExpiresAtMS)
		}},
		{"last_used", func(k *api.KeyView) string { return upward(k.LastUsedMS) }},
	}
}

func sessionOrders() []sorting[api.SessionView] {
	return []sorting[api.SessionView]{
		{field: "id"},
		{"user", func(v *api.SessionView) string { return v.User }},
		{"created", func(v *api.SessionView) string { return upward(v.CreatedAtMS) }},
		{"expires", func(v *api.SessionView) string { return upward(v.ExpiresAtMS) }},
	}
}
