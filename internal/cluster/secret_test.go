package cluster_test

import (
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

func one[T any](id string, v T) cluster.Set[T] {
	e := cluster.Set[T]{}.Edit()
	e.Put(cluster.Entry[T]{ID: id, Rev: 1, Value: v})
	return e.Done()
}

// TestStatus_anotherToken: a failure with a token that is not the secret's value any more is no final word about the model.
func TestStatus_anotherToken(t *testing.T) {
	now := time.UnixMilli(1000)
	for name, c := range map[string]struct {
		secret, began uint64
		want          api.ModelState
	}{
		"with this one":                  {5, 5, api.StateFailed},
		"with the one before":            {6, 5, api.StateStarting},
		"the secret was deleted since":   {0, 5, api.StateStarting},
		"by a node that tells no token":  {6, 0, api.StateFailed},
		"neither secret nor token to it": {0, 0, api.StateFailed},
	} {
		s := &cluster.State{
			Models:      one("m", api.ModelSpec{ModelUID: "m", ModelName: "acme/m", ModelSource: api.SourceHuggingFace, TokenSecret: "hf"}),
			Deployments: one("m", api.ModelDeployment{ModelUID: "m", DesiredState: api.DesiredRunning, Replicas: 1, Version: 1}),
			Placements:  one("m", api.PlacementPlan{ModelUID: "m", Version: 1, Assignments: []api.PlacementAssignment{{NodeID: "n1"}}}),
			Nodes:       one("n1", api.NodeStatus{NodeID: "n1"}),
			Endpoints: one("m/0", api.EndpointInfo{
				ModelUID: "m", NodeID: "n1", PlanVersion: 1, Generation: 1, TokenVersion: c.began, Status: api.EndpointUnhealthy,
				Failure: &api.ReplicaFailure{Code: api.FailHubAuth, Message: "the hub does not accept the token", Final: true},
			}),
		}
		if c.secret > 0 {
			s.Secrets = one("hf", api.Secret{Name: "hf", Version: c.secret})
		}
		if got := cluster.Status(s, "m", now); got.State != c.want {
			t.Errorf("%s: %s (%+v), want %s", name, got.State, got.Reason, c.want)
		}
	}
}
