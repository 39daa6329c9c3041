package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/test/figures"
	"github.com/nebula-serve/nebula/test/hub"
	"github.com/nebula-serve/nebula/test/netns"
)

// wan is what the hub gives to the whole fleet, in bytes per second: little beside what the nodes can give each other.
const wan = 40_000_000

// measureFiles lets one node fetch a model, and then four nodes at once another one of the same size, from a hub that is slow for all of them
// together. Every one of them has a host of its own where that is possible.
func measureFiles(ctx context.Context, o options) error {
	block := filepath.Join(o.dir, "block")
	if err := os.WriteFile(block, hub.Weights(32<<20-61, 1), 0o644); err != nil {
		return err
	}
	var h *hub.Hub
	l, err := newLab(ctx, o, shape{servers: 1, nodes: 4, hosts: true, before: func(l *lab) (args []string, err error) {
		h, err = l.hub()
		if err != nil {
			return nil, err
		}
		return []string{"--hf-endpoint", h.URL}, nil
	}})
	if h != nil {
		defer h.Close()
	}
	defer l.close()
	if err != nil {
		return err
	}
	if l.net == nil {
		o.out.Note("the nodes share one network: hosts of their own need root")
	}
	var one, four, times, bytes []float64
	for round := range pick(o, 5, 2) {
		// Another length makes other files of them: nodes give each other what they have under any name.
		size := int64(pick(o, 256, 96))<<20 + int64(round)*4096
		alone, _, err := l.pull(ctx, h, fmt.Sprintf("bench/one-%d", round), hub.Big{Block: block, Size: size}, l.nodes[:1])
		if err != nil {
			return err
		}
		together, sent, err := l.pull(ctx, h, fmt.Sprintf("bench/four-%d", round), hub.Big{Block: block, Size: size + 1024}, l.nodes)
		if err != nil {
			return err
		}
		one, four = append(one, alone.Seconds()), append(four, together.Seconds())
		times, bytes = append(times, together.Seconds()/alone.Seconds()), append(bytes, float64(sent)/float64(size+1024))
	}
	o.out.Add(figures.Figure{Name: "files_one_node_time", Value: figures.Median(one), Unit: "s"})
	o.out.Add(figures.Figure{Name: "files_four_nodes_time", Value: figures.Median(four), Unit: "s"})
	o.target("files_four_nodes_over_one_time", figures.Median(times), "x", 1.1)
	o.target("files_four_nodes_origin_bytes_max", figures.Quantile(bytes, 1), "x the model", 1.01)
	return nil
}

// hub starts a hub that all machines reach.
func (l *lab) hub() (h *hub.Hub, err error) {
	if l.net == nil {
		return hub.New()
	}
	host, err := l.net.Host("origin")
	if err != nil {
		return nil, err
	}
	err = host.Do(func() (err error) {
		h, err = hub.Listen(host.Addr(netns.Data))
		return err
	})
	return h, err
}

// pull lets nodes fetch a new repository of one file and returns how long that took and how many bytes the hub sent.
func (l *lab) pull(ctx context.Context, h *hub.Hub, name string, file hub.Big, nodes []*machine) (time.Duration, int64, error) {
	if _, err := h.Publish(hub.Repo{ID: name, Big: map[string]hub.Big{"model-Q4_K_M.gguf": file}}); err != nil {
		return 0, 0, err
	}
	h.Break(hub.Faults{AllBytesPerSecond: wan})
	h.Forget()
	req := api.FilesRequest{ModelName: name, EngineType: api.EngineLlamaCPP}
	for _, n := range nodes {
		req.NodeIDs = append(req.NodeIDs, n.name)
	}
	begun := time.Now()
	s := l.servers[0]
	if _, err := s.client.PullFiles(ctx, req); err != nil {
		return 0, 0, err
	}
	_, err := until(ctx, 5*time.Minute, name+" is on all nodes", func(ctx context.Context) error {
		pulls, err := s.client.Pulls(ctx, "")
		if err != nil {
			return err
		}
		pulls = slices.DeleteFunc(pulls, func(p api.PullView) bool { return p.Spec.ModelName != name })
		for _, p := range pulls {
			if p.Progress == nil || p.Progress.Phase != api.PhaseComplete {
				return fmt.Errorf("%s: %+v", p.NodeID, p.Progress)
			}
		}
		if len(pulls) != len(nodes) {
			return fmt.Errorf("%d of %d nodes pull it", len(pulls), len(nodes))
		}
		return nil
	})
	return time.Since(begun), h.Sent(), err
}
