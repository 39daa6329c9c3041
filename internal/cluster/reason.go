package cluster

import (
	"fmt"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// reason says why a replica does not serve, and what to do or what happens next. It holds nothing that changes by
// the second but a download's percentage, so that watching a status is quiet.
func (f *finding) reason() *api.Reason {
	if f.at == nil {
		return pendingReason(false)
	}
	who := fmt.Sprintf("Replica %d on %s", f.at.ReplicaID, f.at.NodeID)
	switch f.kind {
	case gaveUp:
		return f.failed(who, "Nebula keeps trying, once a minute.")
	case retrying:
		return f.failed(who, "Nebula tries again by itself.")
	case silent:
		if f.failure == nil {
			return &api.Reason{Code: string(api.FailProbe), Message: who + " does not answer its health check."}
		}
		return &api.Reason{Code: string(f.failure.Code), Message: who + ": " + sentence(f.failure.Message)}
	case lost:
		return &api.Reason{Code: api.ReasonNodeStarting, Message: fmt.Sprintf(
			"Node %s has stopped reporting. Start Nebula on it again; if it stays away, its replicas move to other nodes.", f.at.NodeID)}
	case cutOff:
		return &api.Reason{Code: api.ReasonNodeCutOff, Message: fmt.Sprintf(
			"Node %s does not report. Its replica %d still takes requests, as far as is known. Check the node and its network.",
			f.at.NodeID, f.at.ReplicaID)}
	case downloading:
		return &api.Reason{Code: api.ReasonDownloading, Message: who + " " + progress(f.progress)}
	case replacing:
		return &api.Reason{Code: api.ReasonDraining, Message: who + " finishes its requests before it starts anew with its new settings."}
	case loading:
		r := api.Reason{Code: api.ReasonLoading, Message: who + " loads the model."}
		if f.loaded != nil {
			r.Message = fmt.Sprintf("%s loads the model: %.0f %%.", who, *f.loaded)
		}
		return &r
	}
	return &api.Reason{Code: api.ReasonNodeStarting, Message: fmt.Sprintf(
		"Node %s has been told to run replica %d and has not begun yet.", f.at.NodeID, f.at.ReplicaID)}
}

// failed words a failure. A final one ends with its own advice, because only the failure knows what to change.
func (f *finding) failed(who, next string) *api.Reason {
	r := &api.Reason{Code: string(f.failure.Code), Message: who + " failed: " + sentence(f.failure.Message)}
	if !f.failure.Final {
		r.Message += " " + next
	}
	return r
}

func progress(d *api.DownloadProgress) string {
	verb := "downloads"
	if d.Phase == api.PhaseVerifying {
		verb = "checks"
	}
	if d.TotalBytes == 0 {
		return verb + " the model: " + size(d.DownloadedBytes) + " so far."
	}
	return fmt.Sprintf("%s the model: %.0f %% of %s.", verb, d.ProgressPct, size(d.TotalBytes))
}

// size writes a number of bytes for people, in decimal units as hubs do.
func size(b uint64) string {
	switch {
	case b >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(b)/1e9)
	case b >= 1e6:
		return fmt.Sprintf("%.0f MB", float64(b)/1e6)
	}
	return fmt.Sprintf("%.0f kB", float64(b)/1e3)
}

func pendingReason(late bool) *api.Reason {
	r := &api.Reason{Code: api.ReasonPendingPlacement, Message: "Waiting for the scheduler to choose a node."}
	if late {
		r.Message = "The scheduler has not chosen a node for more than 30 seconds. Look for errors of component=scheduler " +
			"in the log of the Nebula server."
	}
	return r
}

func drainingReason(left int) *api.Reason {
	if left == 1 {
		return &api.Reason{Code: api.ReasonDraining, Message: "One replica finishes its requests and stops."}
	}
	return &api.Reason{Code: api.ReasonDraining, Message: fmt.Sprintf("%d replicas finish their requests and stop.", left)}
}

// unseenReason explains a replica that nobody wants any more, on a node that cannot be told so.
func unseenReason(e *api.EndpointInfo) *api.Reason {
	return &api.Reason{Code: api.ReasonNodeCutOff, Message: fmt.Sprintf(
		"Node %s does not report; replica %d stops as soon as the node is back. If it is gone for good, remove it with: nebula node delete %s.",
		e.NodeID, e.ReplicaID, e.NodeID)}
}

func unreadableReason(why string) *api.Reason {
	return &api.Reason{Code: api.ReasonUnreadable, Message: sentence(why) +
		" What runs of this model is left alone. Restore the document, or delete the model and create it again."}
}

// sentence makes a message end like a sentence.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || strings.ContainsAny(s[len(s)-1:], ".!?") {
		return s
	}
	return s + "."
}
