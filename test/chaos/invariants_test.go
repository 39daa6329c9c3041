//go:build chaos

package chaos

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/test/procs"
)

// sameEngines checks that no engine was restarted: the processes are those of before, told by pid and start time.
func (s *server) sameEngines(t *testing.T, uid string, before map[uint32]procs.ID) {
	t.Helper()
	if diff := cmp.Diff(before, s.replicas(t, uid)); diff != "" {
		t.Errorf("engines of %s were restarted (-before +after):\n%s", uid, diff)
	}
}

// owned waits until the engines that run on the nodes are exactly those that the cluster's endpoints name, one shim for each, and checks that no GPU
// has two owners.
func owned(t *testing.T, c *client.Client, nodes ...*program) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		models, err := models(c)
		if err != nil {
			return err
		}
		named := map[int]string{}
		gpus := map[string]string{}
		for _, m := range models {
			for _, e := range m.Endpoints {
				name := fmt.Sprintf("%s/%d on %s", e.ModelUID, e.ReplicaID, e.NodeID)
				if e.PID != 0 {
					named[e.PID] = name
				}
				for _, g := range e.GPUIndices {
					at := fmt.Sprintf("GPU %d of %s", g, e.NodeID)
					if other := gpus[at]; other != "" {
						t.Fatalf("%s is held by %s and by %s", at, other, name)
					}
					gpus[at] = name
				}
			}
		}
		shims := 0
		for _, n := range nodes {
			shims += len(n.of(procs.KindShim))
			for _, p := range n.of(procs.KindEngine) {
				if _, ok := named[p.PID]; !ok {
					return fmt.Errorf("engine without an owner on %s: %s; the cluster names %v", n.name, p, named)
				}
				delete(named, p.PID)
			}
		}
		if len(named) > 0 {
			return fmt.Errorf("endpoints without an engine: %v", slices.Sorted(maps.Values(named)))
		}
		if running := engines(nodes); shims != running {
			return fmt.Errorf("%d shims hold %d engines", shims, running)
		}
		return nil
	})
}

func engines(nodes []*program) int {
	n := 0
	for _, p := range nodes {
		n += len(p.of(procs.KindEngine))
	}
	return n
}

// models lists all models.
func models(c *client.Client) ([]api.ModelView, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var all []api.ModelView
	for cursor := ""; ; {
		page, next, err := c.Models(ctx, client.ListOptions{Cursor: cursor})
		if err != nil {
			return nil, err
		}
		if all = append(all, page...); next == "" {
			return all, nil
		}
		cursor = next
	}
}
