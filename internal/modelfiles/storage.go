package modelfiles

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
)

// Storage reports the disk, the models on it and the alerts about it, as one picture.
func (s *Store) Storage(ctx context.Context) (api.NodeDiskStatus, []api.ModelCacheEntry, []api.DiskAlert, error) {
	entries, err := s.Scan(ctx)
	if err != nil {
		return api.NodeDiskStatus{}, nil, nil, err
	}
	now := time.Now()
	d, err := disk.Status(s.cfg.NodeID, s.cfg.CacheDir, now)
	if err != nil {
		return api.NodeDiskStatus{}, nil, nil, err
	}
	d.ModelCount = uint32(len(entries))
	for _, e := range entries {
		d.ModelCacheBytes += e.SizeBytes
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alerts = disk.Alerts(s.alerts, d, now)
	return d, entries, slices.Clone(s.alerts), nil
}

// Scan lists the models on this node; see [cache.Scan].
func (s *Store) Scan(ctx context.Context) ([]api.ModelCacheEntry, error) {
	s.mu.Lock()
	roots := slices.Sorted(maps.Keys(s.roots))
	s.mu.Unlock()
	entries, err := cache.Scan(ctx, roots)
	for i := range entries {
		entries[i].NodeID = s.cfg.NodeID
	}
	return entries, err
}
