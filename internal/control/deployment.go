package control

import (
	"context"
	"slices"

	"github.com/nebula-serve/nebula/api"
)

// PutDeployment replaces the whole wish to run a model, whether it is to run or to stop.
func (c *Control) PutDeployment(ctx context.Context, uid string, req api.PutDeployment, ifMatch int64) (api.ModelDeployment, error) {
	return c.wish(ctx, "model.deploy", uid, ifMatch, func(d *api.ModelDeployment) error {
		d.DesiredState, d.Replicas, d.MinReplicas, d.MaxReplicas = req.DesiredState, 1, req.MinReplicas, req.MaxReplicas
		if req.Replicas != nil {
			d.Replicas = *req.Replicas
		}
		d.NodeAffinity, d.GPUAffinity, d.ConfigOverrides = req.NodeID, slices.Clone(req.GPUIndices), req.ConfigOverrides
		return nil
	})
}
