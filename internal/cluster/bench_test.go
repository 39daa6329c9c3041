package cluster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/cluster/clustertest"
)

// The benchmarks run on 1,000 nodes, 10,000 models and 20,000 replicas.

func BenchmarkStatus(b *testing.B) {
	s := clustertest.Fleet(1000, 10_000, 2)
	now := time.Unix(1000, 0)
	for i := 0; b.Loop(); i++ {
		cluster.Status(s, fmt.Sprintf("model-%06d", i%10_000), now)
	}
}

func BenchmarkViews(b *testing.B) {
	s := clustertest.Fleet(1000, 10_000, 2)
	now := time.Unix(1000, 0)
	for _, f := range []struct {
		name   string
		filter cluster.Filter
	}{
		{"page of 100", cluster.Filter{Limit: 100, After: "model-005000"}},
		{"state that none has", cluster.Filter{State: api.StateFailed}},
		{"all", cluster.Filter{}},
	} {
		b.Run(f.name, func(b *testing.B) {
			for b.Loop() {
				cluster.Views(s, now, f.filter)
			}
		})
	}
}

func BenchmarkDesired(b *testing.B) {
	s := clustertest.Fleet(1000, 10_000, 2)
	b.Run("scan", func(b *testing.B) {
		for b.Loop() {
			cluster.Desired(s, "node-00001")
		}
	})
	b.Run("index", func(b *testing.B) {
		x := s.Indexed()
		for b.Loop() {
			cluster.Desired(x, "node-00001")
		}
	})
	b.Run("all nodes after a placement changed", func(b *testing.B) {
		for b.Loop() {
			edit := s.Placements.Edit()
			e, _ := s.Placements.Get("model-000000")
			edit.Put(e)
			changed := *s
			changed.Placements = edit.Done()
			x := changed.Indexed()
			for n := range x.Nodes.All() {
				cluster.Desired(x, n.ID)
			}
		}
	})
}

func BenchmarkUsage(b *testing.B) {
	s := clustertest.Fleet(1000, 10_000, 2)
	for b.Loop() {
		cluster.Usage(s)
	}
}

func BenchmarkNodes(b *testing.B) {
	s := clustertest.Fleet(1000, 10_000, 2)
	for b.Loop() {
		cluster.NodeViews(s, nil, 0)
	}
}
