package cluster_test

import (
	"flag"
	"fmt"
	"testing"

	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/cluster/clustertest"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// TestStatus_cases asks for the status of each model that a "status UID" line names.
func TestStatus_cases(t *testing.T) {
	clustertest.Cases(t, "testdata/status/*.txt", *update, func(t *testing.T, c *clustertest.Cluster) string {
		var out string
		for _, words := range c.Rest {
			if words[0] != "status" || len(words) != 2 {
				t.Fatalf("what is %q?", words)
			}
			s := cluster.Status(c.State, words[1], c.Now)
			r := s.Replicas
			out += fmt.Sprintf("%s %d/%d ready, %d starting, %d unhealthy\n", s.State, r.Ready, r.Desired, r.Starting, r.Unhealthy)
			if s.Reason != nil {
				out += fmt.Sprintf("%s: %s\n", s.Reason.Code, s.Reason.Message)
			}
		}
		return out
	})
}
