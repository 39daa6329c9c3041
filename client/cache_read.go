package client

import (
	"encoding/json"

	"github.com/nebula-serve/nebula/api"
)

// cacheList is what a node's cache holds, in either of the shapes that Nebula's documents have for it: the entries themselves, which are sent, or an
// object with them.
type cacheList []api.CacheEntryView

func (l *cacheList) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '{' {
		return json.Unmarshal(b, (*[]api.CacheEntryView)(l))
	}
	var in struct {
		Cached []api.CacheEntryView `json:"cached_models"`
	}
	err := json.Unmarshal(b, &in)
	*l = in.Cached
	return err
}

// cacheSummary is that of all nodes, with the entries beside the nodes, as they are sent, or in them.
type cacheSummary api.CacheSummary

func (s *cacheSummary) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, (*api.CacheSummary)(s)); err != nil || s.Caches != nil {
		return err
	}
	var in struct {
		Nodes []struct {
			NodeID string               `json:"node_id"`
			Cached []api.CacheEntryView `json:"cached_models"`
		} `json:"nodes"`
	}
	err := json.Unmarshal(b, &in)
	for _, n := range in.Nodes {
		for _, e := range n.Cached {
			if e.NodeID == "" {
				e.NodeID = n.NodeID
			}
			s.Caches = append(s.Caches, e)
		}
	}
	return err
}
