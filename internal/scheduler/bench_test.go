package scheduler

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/cluster/clustertest"
)

// BenchmarkPlan plans 1,000 nodes with 10,000 models of 2 replicas each, and reports the slowest hundredth, too.
func BenchmarkPlan(b *testing.B) {
	rest := clustertest.Fleet(1000, 10_000, 2)
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		name string
		with func(*cluster.State)
		want int // changes; 0 = some, but where there is nothing to do
	}{
		{"nothing to do", func(*cluster.State) {}, 0},
		{"a new CPU model", func(s *cluster.State) { declare(s, "new", api.EngineLlamaCPP, 1) }, 1},
		{"a new GPU model", func(s *cluster.State) { declare(s, "new", api.EngineVLLM, 1) }, 1},
		{"50 new GPU models", func(s *cluster.State) {
			for i := range 50 {
				declare(s, fmt.Sprintf("new-%d", i), api.EngineVLLM, 1)
			}
		}, 50},
		{"a stopped model", func(s *cluster.State) { drop(&world{s: *s}, &s.Deployments, "model-005000") }, 1},
		{"1000 replicas of one model", func(s *cluster.State) { declare(s, "new", api.EngineLlamaCPP, 1000) }, 1},
		{"500 models without a place", func(s *cluster.State) {
			for i := range 500 {
				declare(s, fmt.Sprintf("new-%d", i), api.EngineVLLM, 1)
				spec, _ := s.Models.Value(fmt.Sprintf("new-%d", i))
				spec.Config = &api.ModelConfig{TensorParallelSize: new(uint32(16))}
				put(&world{}, &s.Models, spec.ModelUID, spec)
			}
		}, 500},
		{"everything anew", func(s *cluster.State) {
			s.Placements, s.Endpoints = cluster.Set[api.PlacementPlan]{}, cluster.Set[api.EndpointInfo]{}
		}, 10_000},
		{"everything anew on CPUs", func(s *cluster.State) {
			s.Placements, s.Endpoints = cluster.Set[api.PlacementPlan]{}, cluster.Set[api.EndpointInfo]{}
			for e := range s.Nodes.All() {
				e.Value.GPUs = nil
				put(&world{}, &s.Nodes, e.ID, e.Value)
			}
			for e := range s.Models.All() {
				e.Value.EngineType = api.EngineLlamaCPP
				put(&world{}, &s.Models, e.ID, e.Value)
			}
		}, 10_000},
		{"a third of the nodes removed", func(s *cluster.State) {
			for i, e := range slices.Collect(s.Nodes.All()) {
				if i%3 == 0 {
					drop(&world{}, &s.Nodes, e.ID)
					drop(&world{}, &s.Members, api.MemberKey(api.MachineNode, e.ID))
				}
			}
		}, 0},
		{"all nodes of a rack drained", func(s *cluster.State) {
			for i, e := range slices.Collect(s.Nodes.All()) {
				if i%20 == 0 {
					m := api.Member{Role: api.MachineNode, ID: e.ID, Cordoned: true, Draining: true}
					put(&world{}, &s.Members, m.Key(), m)
				}
			}
		}, 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := *rest
			c.with(&s)
			var took []time.Duration
			used := cpu()
			for b.Loop() {
				began := time.Now()
				changes, _ := Plan(&s, Memory{}, now, LostAfter)
				took = append(took, time.Since(began))
				if c.want == 0 && len(changes) > 0 != (c.name != "nothing to do") || c.want > 0 && len(changes) != c.want {
					b.Fatalf("%d changes, want %d", len(changes), c.want)
				}
			}
			b.ReportMetric(float64((cpu()-used).Microseconds())/1000/float64(len(took)), "cpu-ms/op")
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

func declare(s *cluster.State, uid, engine string, replicas uint32) {
	w := world{}
	put(&w, &s.Models, uid, api.ModelSpec{ModelUID: uid, ModelName: uid, EngineType: engine})
	put(&w, &s.Deployments, uid, api.ModelDeployment{ModelUID: uid, DesiredState: api.DesiredRunning, Replicas: replicas})
}

// cpu is the processor time of this process so far, which a busy machine blurs less than the clock does.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
