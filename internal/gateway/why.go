package gateway

import (
	"net/http"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// notServing says why a model that exists takes no requests, and what to do.
func (t *table) notServing(m *model, now time.Time) *fault {
	status := cluster.Status(t.state, m.uid, now)
	say, after := "", 5
	switch status.State {
	case api.StateStopped:
		say, after = "is stopped; start it with: nebula model start "+m.uid, 30
	case api.StateStopping:
		say, after = "is being stopped; start it again with: nebula model start "+m.uid, 30
	case api.StateFailed:
		say, after = "does not run", 30
	case api.StateDownloading:
		say, after = "is being downloaded", 15
	case api.StateStarting:
		say = "is starting"
	default:
		say = "has no replica that this gateway can reach"
	}
	if r := status.Reason; r != nil && status.State != api.StateStopping {
		say += ": " + strings.TrimSuffix(r.Message, ".")
	}
	return newFault(http.StatusServiceUnavailable, codeModelNotReady, "the model %s %s", m.uid, say).about("model").after(after)
}

// cannot says what a model does instead of what it was asked for. Such a request never reaches the engine: some crash on it.
func (m *model) cannot(k *kind) *fault {
	var caps capability
	for _, r := range m.ready {
		caps |= r.caps
	}
	return newFault(http.StatusBadRequest, codeUnsupported, "the model %s does %s, not %s", m.uid, caps, k.need).about("model")
}
