package clustertest

import (
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// builder fills a State that nobody else sees yet.
type builder struct {
	s   *cluster.State
	rev int64
}

func add[T any](set *cluster.Set[T], id string, rev int64, v T) {
	e := set.Edit()
	e.Put(cluster.Entry[T]{ID: id, Rev: rev, Value: v})
	*set = e.Done()
}

func (b *builder) node(l *line) {
	n := api.NodeStatus{NodeID: l.next(), MemoryFreeMB: l.number(l.get("mem"))}
	for i, g := range l.list("gpus") {
		total, used, _ := strings.Cut(g, "/")
		n.GPUs = append(n.GPUs, api.GPUStatus{Index: uint32(i), MemoryTotalMB: l.number(total), MemoryUsedMB: l.number(used)})
	}
	engines := l.list("engines")
	if engines == nil {
		engines = api.Engines()
	}
	for _, e := range engines {
		if e != "none" {
			n.Engines = append(n.Engines, api.NodeEngine{Name: e})
		}
	}
	for _, e := range api.Engines() {
		if why := l.get("missing." + e); why != "" {
			n.Engines = append(n.Engines, api.NodeEngine{Name: e, Missing: why})
		}
	}
	add(&b.s.Nodes, n.NodeID, b.rev, n)
}

func (b *builder) member(l *line) {
	m := api.Member{Role: api.MachineNode, ID: l.next(), Cordoned: l.flag("cordoned"), Draining: l.flag("draining")}
	add(&b.s.Members, m.Key(), b.rev, m)
}

func (b *builder) model(l *line) {
	m := api.ModelSpec{
		ModelUID: l.next(), ModelName: l.get("name"), EngineType: l.get("engine"), ModelPath: l.get("path"),
		ModelSource: api.ModelSource(l.get("source")), UpdatedAtMS: l.duration(l.get("updated")).Milliseconds(),
	}
	if m.ModelName == "" {
		m.ModelName = m.ModelUID
	}
	for _, pair := range l.list("labels") {
		k, v, _ := strings.Cut(pair, ":")
		if m.Labels == nil {
			m.Labels = map[string]string{}
		}
		m.Labels[k] = v
	}
	m.Config = config(l)
	rev := b.revision(l)
	add(&b.s.Models, m.ModelUID, rev, m)
}

// config reads tp, vram and ctx; nil when none is given.
func config(l *line) *api.ModelConfig {
	c := api.ModelConfig{
		TensorParallelSize: optional[uint32](l, "tp"), RequiredVRAMMB: optional[uint64](l, "vram"), MaxModelLen: optional[uint32](l, "ctx"),
	}
	if c.TensorParallelSize == nil && c.RequiredVRAMMB == nil && c.MaxModelLen == nil {
		return nil
	}
	return &c
}

func (b *builder) revision(l *line) int64 {
	if rev := int64(l.number(l.get("rev"))); rev != 0 {
		return rev
	}
	return b.rev
}

func (b *builder) deploy(l *line) {
	d := api.ModelDeployment{
		ModelUID: l.next(), DesiredState: api.DesiredState(l.next()), Replicas: 1, NodeAffinity: l.get("node"),
		GPUAffinity: l.indices(l.get("gpus")), Version: l.number(l.get("version")), UpdatedAtMS: l.duration(l.get("updated")).Milliseconds(),
		ConfigOverrides: config(l),
	}
	if r := optional[uint32](l, "replicas"); r != nil {
		d.Replicas = *r
	}
	if marks := l.get("drain"); marks != "" {
		for s := range strings.SplitSeq(marks, ";") {
			a := l.assignment(s)
			d.Draining = append(d.Draining, api.DrainMark{ReplicaID: a.ReplicaID, NodeID: a.NodeID})
		}
	}
	rev := b.revision(l)
	add(&b.s.Deployments, d.ModelUID, rev, d)
}

func (b *builder) plan(l *line) {
	p := api.PlacementPlan{ModelUID: l.next(), Version: l.number(l.get("version")), Assignments: []api.PlacementAssignment{}}
	p.ModelName = p.ModelUID
	if code := l.get("unplaced"); code != "" {
		p.Unplaced = &api.Reason{Code: code, Message: l.get("message")}
	}
	rev, engine := b.revision(l), l.get("engine")
	spec, known := b.s.Models.Value(p.ModelUID)
	if known {
		p.ModelName = spec.ModelName
	}
	if engine == "" && known {
		engine = spec.Engine()
	}
	read := func(s string) api.PlacementAssignment {
		a := l.assignment(s)
		if engine != "" {
			a.EngineType = &engine
		}
		return a
	}
	if displaced := l.get("displaced"); displaced != "" {
		for s := range strings.SplitSeq(displaced, ";") {
			p.Displaced = append(p.Displaced, read(s))
		}
	}
	for len(l.words) > 0 {
		p.Assignments = append(p.Assignments, read(l.next()))
	}
	add(&b.s.Placements, p.ModelUID, rev, p)
}

func (b *builder) endpoint(l *line) {
	uid, id, node := l.replica(l.next())
	e := api.EndpointInfo{
		ModelUID: uid, ReplicaID: id, NodeID: node, Status: api.EndpointStatus(l.next()), EndpointKind: "native_http",
		APIFlavor: "openai", GPUIndices: l.indices(l.get("gpus")), PlanVersion: l.number(l.get("plan")),
		Generation: l.number(l.get("generation")),
	}
	if v := optional[uint64](l, "loaded"); v != nil {
		pct := float64(*v)
		e.LoadedPercent = &pct
	}
	if code := l.get("fail"); code != "" {
		e.Failure = &api.ReplicaFailure{
			Code: api.FailureCode(code), Message: l.get("message"), Final: l.flag("final"), RetryAtMS: l.duration(l.get("retry")).Milliseconds(),
		}
	}
	add(&b.s.Endpoints, e.Key(), b.rev, e)
}

func (b *builder) download(l *line) {
	uid, id, node := l.replica(l.next())
	d := api.DownloadProgress{
		ModelUID: uid, ReplicaID: id, NodeID: node, ModelName: uid, Phase: api.DownloadPhase(l.next()),
		DownloadedBytes: l.number(l.get("done")), TotalBytes: l.number(l.get("total")),
	}
	if d.TotalBytes > 0 {
		d.ProgressPct = 100 * float64(d.DownloadedBytes) / float64(d.TotalBytes)
	}
	add(&b.s.Downloads, d.Key(), b.rev, d)
}

func (b *builder) cache(l *line) {
	id := l.next()
	node, _, _ := strings.Cut(id, "/")
	add(&b.s.Cache, id, b.rev, api.ModelCacheEntry{
		NodeID: node, ModelName: l.get("name"), CachePath: l.get("path"), SizeBytes: l.number(l.get("size")), Complete: l.flag("complete"),
	})
}

func (b *builder) alert(l *line) {
	id := l.next()
	node, kind, _ := strings.Cut(id, "/")
	add(&b.s.Alerts, id, b.rev, api.DiskAlert{NodeID: node, AlertType: kind, Message: l.get("message")})
}
