package agent

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// next returns the channel and the document to send when a report is due, else a nil channel and the time until one may be.
func (l *loop) next(now time.Time) (chan<- api.NodeObserved, api.NodeObserved, time.Duration) {
	since := now.Sub(l.sentAt)
	switch {
	case l.sending || l.host == nil:
		return nil, api.NodeObserved{}, l.cfg.Heartbeat
	case l.dirty && since >= l.cfg.ReportEvery, since >= l.cfg.Heartbeat:
		return l.reports, l.document(now), l.cfg.Heartbeat
	case l.dirty:
		return nil, api.NodeObserved{}, l.cfg.ReportEvery - since
	}
	return nil, api.NodeObserved{}, l.cfg.Heartbeat - since
}

// sent takes the outcome of the report on its way.
func (l *loop) sent(err error) {
	l.sending = false
	if err != nil {
		l.pending, l.inflight, l.dirty = append(l.inflight, l.pending...), nil, true
		return
	}
	for _, stored := range l.inflight {
		close(stored)
	}
	l.inflight = nil
}

// report sends documents one at a time, so that a slow server never holds the loop up.
func (l *loop) report(ctx context.Context) {
	for failing := false; ; {
		var doc api.NodeObserved
		select {
		case <-ctx.Done():
			return
		case doc = <-l.reports:
		}
		sctx, cancel := context.WithTimeout(ctx, reportTimeout)
		err := l.cfg.Link.Report(sctx, doc)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if (err != nil) != failing {
			failing = err != nil
			if failing {
				l.cfg.Log.Warn("the server does not take this node's reports; its engines serve on", "error", err)
			} else {
				l.cfg.Log.Info("the server takes this node's reports again")
			}
		}
		select {
		case l.results <- err:
		case <-ctx.Done():
			return
		}
	}
}

const reportTimeout = 10 * time.Second

// document is everything that is true on this node.
func (l *loop) document(now time.Time) api.NodeObserved {
	o := api.NodeObserved{Node: *l.host, Disk: l.storage.Disk, Cache: l.storage.Models, Alerts: l.storage.Alerts}
	o.Node.NodeID = l.cfg.NodeID
	o.Endpoints, o.Downloads = []api.EndpointInfo{}, []api.DownloadProgress{}
	for _, h := range l.held {
		e := h.endpoint(l.cfg.NodeID)
		e.NodeAddr = o.Node.APIAddr
		e.LastHeartbeatMS = h.last.LastHeartbeatMS
		if !reflect.DeepEqual(e, h.last) {
			e.LastHeartbeatMS = now.UnixMilli()
			h.last = e
		}
		o.Endpoints = append(o.Endpoints, e)
		if h.state.Progress != nil {
			o.Downloads = append(o.Downloads, *h.state.Progress)
		}
	}
	o.Pulls = l.pullDocuments()
	slices.SortFunc(o.Endpoints, func(a, b api.EndpointInfo) int { return strings.Compare(a.Key(), b.Key()) })
	slices.SortFunc(o.Downloads, func(a, b api.DownloadProgress) int { return strings.Compare(a.Key(), b.Key()) })
	return o
}

// publish tells this machine itself what the next report will tell the cluster.
func (l *loop) publish() {
	if l.cfg.Endpoints == nil || !l.dirty {
		return
	}
	now := make([]api.EndpointInfo, 0, len(l.held))
	for _, h := range l.held {
		now = append(now, h.endpoint(l.cfg.NodeID))
	}
	l.cfg.Endpoints(now)
}

// endpoint is a held replica as a document, but for the time of its last change.
func (h *held) endpoint(node string) api.EndpointInfo {
	s := h.state
	e := api.EndpointInfo{
		ModelUID: h.want.Spec.ModelUID, ReplicaID: h.want.Assignment.ReplicaID, PlanVersion: h.want.PlanVersion, Generation: h.want.Generation,
		TokenVersion: h.want.TokenVersion, NodeID: node,
		EndpointKind: "native_http", APIFlavor: "openai", Status: s.Status,
		EngineType: engineOf(h.want), ServedName: h.want.Spec.ModelUID, GPUIndices: h.want.Assignment.GPUs(),
		PID: s.PID, StartedAtMS: millis(s.StartedAt), ReadyAtMS: millis(s.ReadyAt), Restarts: s.Restarts,
		LoadedPercent: s.LoadedPercent, Failure: s.Failure, Capabilities: s.Capabilities,
	}
	if h.stopping && e.Status != api.EndpointDraining {
		e.Status = api.EndpointDraining
	}
	if s.BaseURL != "" {
		e.BaseURL = &s.BaseURL
	}
	return e
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// watchHost looks at the machine now and then; only what changed materially is worth a report.
func (l *loop) watchHost(ctx context.Context) {
	var last api.NodeObserved
	for {
		if node, err := l.cfg.Host.Node(ctx); err != nil {
			if ctx.Err() == nil {
				l.cfg.Log.Warn("cannot look at this machine", "error", err)
			}
		} else if o := (api.NodeObserved{Node: node}); material(last, o) {
			last = o
			node.LastHeartbeatMS = time.Now().UnixMilli()
			select {
			case l.hosts <- node:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(l.cfg.HostEvery):
		}
	}
}

// watchStorage passes on what is seen of the models on the disk. Looking is not its business, so that a disk that hangs holds up nothing here.
func (l *loop) watchStorage(ctx context.Context) {
	var last api.NodeObserved
	for {
		s, newer := l.cfg.Host.Storage()
		if o := (api.NodeObserved{Disk: s.Disk, Cache: s.Models, Alerts: s.Alerts}); s.Disk != nil && material(last, o) {
			last = o
			select {
			case l.storages <- s:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-newer:
		}
	}
}

// material tells whether b says something that a does not, beyond figures that always move a little.
func material(a, b api.NodeObserved) bool {
	const freeStep, diskStep = 512, 256 << 20 // MiB of memory, bytes of disk
	for _, o := range []*api.NodeObserved{&a, &b} {
		n := o.Node
		n.LastHeartbeatMS, n.MemoryFreeMB = 0, n.MemoryFreeMB/freeStep
		n.GPUs = slices.Clone(n.GPUs)
		for i := range n.GPUs {
			n.GPUs[i].MemoryUsedMB /= freeStep
			n.GPUs[i].TemperatureC, n.GPUs[i].UtilizationGPU = nil, nil
		}
		o.Node = n
		if o.Disk != nil {
			d := *o.Disk
			d.UsedBytes, d.AvailableBytes, d.UsagePct, d.UpdatedAtMS = d.UsedBytes/diskStep, d.AvailableBytes/diskStep, float64(int(d.UsagePct)), 0
			o.Disk = &d
		}
	}
	return !reflect.DeepEqual(a, b)
}
