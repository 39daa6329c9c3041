package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

func (c *command) clusterCommand() *cobra.Command {
	return group("cluster", "Look at the cluster as a whole", c.clusterStatus())
}

// clusterState is what "cluster status" prints as JSON or YAML.
type clusterState struct {
	api.ClusterView
	Nodes     []api.NodeView     `json:"nodes"`
	Endpoints []api.EndpointInfo `json:"endpoints"`
	Alerts    []api.DiskAlert    `json:"alerts"`
}

func (c *command) clusterStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Show servers, nodes, running replicas and alerts", Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			s, err := lookAtCluster(cmd.Context(), cl)
			if err != nil {
				return err
			}
			return c.print(s, func(bool) error { return c.clusterTables(s, time.Now()) })
		},
	}
	c.addOutput(cmd)
	return cmd
}

func lookAtCluster(ctx context.Context, cl *client.Client) (clusterState, error) {
	s := clusterState{Endpoints: []api.EndpointInfo{}}
	var err error
	if s.ClusterView, err = cl.Cluster(ctx); err != nil {
		return s, err
	}
	if s.Nodes, err = cl.Nodes(ctx); err != nil {
		return s, err
	}
	if s.Alerts, err = cl.Alerts(ctx); err != nil {
		return s, err
	}
	models, _, err := cl.Models(ctx, client.ListOptions{})
	for _, m := range models {
		s.Endpoints = append(s.Endpoints, m.Endpoints...)
	}
	return s, err
}

func (c *command) clusterTables(s clusterState, now time.Time) error {
	var servers, nodes, endpoints [][]string
	for _, v := range s.Servers {
		servers = append(servers, []string{clean(v.ID), orDash(clean(v.Addr))})
	}
	for _, n := range s.Nodes {
		nodes = append(nodes, []string{clean(n.NodeID), nodeState(n), age(n.LastHeartbeatMS, now), fmt.Sprint(len(n.GPUs)), fmt.Sprint(len(n.Replicas))})
	}
	for _, e := range s.Endpoints {
		endpoints = append(endpoints, []string{clean(e.ModelUID), fmt.Sprint(e.ReplicaID), clean(e.NodeID), string(e.Status), orDash(clean(deref(e.BaseURL)))})
	}
	for _, t := range []struct {
		header []string
		rows   [][]string
		empty  string
	}{
		{[]string{"SERVER", "ADDRESS"}, servers, ""},
		{[]string{"NODE", "STATE", "HEARD", "GPUS", "REPLICAS"}, nodes, "No nodes. Let a machine join with: nebula token create --for node"},
		{[]string{"MODEL", "REPLICA", "NODE", "STATUS", "URL"}, endpoints, "No endpoints: nothing runs"},
	} {
		if len(t.rows) == 0 && t.empty == "" {
			continue
		}
		text := t.empty + "\n"
		if len(t.rows) > 0 {
			text = tableText(t.header, t.rows, c.width())
		}
		if err := c.printStyled(text + "\n"); err != nil {
			return err
		}
	}
	text := "No alerts"
	for i, a := range s.Alerts {
		if i == 0 {
			text = ""
		}
		text += a.AlertType + ": " + a.Message + "\n"
	}
	return c.say(text)
}
