package cli

import (
	"fmt"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// verdict says in a few lines what would come of a model whose change was tried: where its replicas would be, or what they lack, and what would
// help. nil: nothing was told.
func verdict(x *api.Explanation) []string {
	switch {
	case x == nil:
		return nil
	case x.State == api.StateStopped || x.State == api.StateStopping:
		return []string{"it would not run; " + room(x)}
	}
	var lines []string
	if where := placesText(x.Places); where != "" {
		lines = append(lines, "it would run on "+where)
	}
	if x.Unplaced != nil {
		lines = append(lines, unplacedText(x)+": "+x.Unplaced.Message)
		for _, h := range x.Help {
			lines = append(lines, "what would help: "+h)
		}
	}
	return lines
}

func unplacedText(x *api.Explanation) string {
	if len(x.Places) == 0 {
		return "it would fit nowhere"
	}
	return fmt.Sprintf("%d of %s would have a place", len(x.Places), plural(x.Replicas.Desired, "replica"))
}

// placesText names the places of replicas, each with its GPUs.
func placesText(places []api.ReplicaPlace) string {
	var out []string
	for _, p := range places {
		where := p.NodeID + " (CPU)"
		switch len(p.GPUIndices) {
		case 0:
		case 1:
			where = p.NodeID + " (GPU " + gpus(p.GPUIndices) + ")"
		default:
			where = p.NodeID + " (GPUs " + gpus(p.GPUIndices) + ")"
		}
		out = append(out, where)
	}
	if n := len(out) - maxExplained; n > 0 {
		out = append(out[:maxExplained], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(out, ", ")
}

// room says whether a model that is not to run would have a place.
func room(x *api.Explanation) string {
	var fits []string
	for _, n := range x.Nodes {
		if n.Fits {
			fits = append(fits, n.NodeID)
		}
	}
	switch {
	case len(fits) > maxExplained:
		return fmt.Sprintf("a replica would fit on %d nodes", len(fits))
	case len(fits) > 0:
		return "a replica would fit on " + strings.Join(fits, ", ")
	case len(x.Nodes) == 0:
		return "there is no node that a replica would fit on"
	}
	near := x.Nodes[0]
	return "a replica would fit nowhere: the nearest node, " + near.NodeID + ", " + near.Message + shortText(&near)
}

// shortText says how much a node lacks.
func shortText(n *api.NodeFit) string {
	var parts []string
	if n.GPUsShort > 0 {
		parts = append(parts, plural(uint32(n.GPUsShort), "GPU"))
	}
	if n.VRAMShortMB > 0 {
		parts = append(parts, fmt.Sprintf("%d MiB", n.VRAMShortMB))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (short of " + strings.Join(parts, ", ") + ")"
}

// foretoldIn is what the answer to a trial says of a model; nil: nothing.
func foretoldIn(answer any) *api.Explanation {
	switch a := answer.(type) {
	case api.ModelCreated:
		return a.Explanation
	case api.ModelWritten:
		return a.Explanation
	case api.DeploymentWritten:
		return a.Explanation
	}
	return nil
}
