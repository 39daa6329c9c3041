package cluster

import (
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// MigratedBy is the author of specs that a migration wrote, that of the existing Nebula included.
const MigratedBy = "migration"

// requestIndex is what the requests of version 1 declare, model by model. It belongs to one version of the requests.
type requestIndex struct {
	of     Set[api.ModelRequest]
	models []declaration // in order of uid
}

// madeOf is what Models and Deployments were made of.
type madeOf struct {
	models      Set[api.ModelSpec]
	deployments Set[api.ModelDeployment]
	requests    Set[api.ModelRequest]
	bad         Set[BadValue]
}

// declaration is the request that speaks for a uid, as the documents that it stands for.
type declaration struct {
	uid        string
	request    string // its id
	spec       *Entry[api.ModelSpec]
	deployment *Entry[api.ModelDeployment]
}

// WithRequests returns s with Models and Deployments made of what is stored and of what requests of version 1 declare. This is the one rule for a uid
// that has both:
//
//   - A stored spec or deployment counts, whatever a request says, and also when it cannot be read.
//   - What is not stored, the newest request of the uid declares; of those, one that is not being unloaded before one that is.
//   - A stored spec without a deployment is a model that was never started, unless a migration wrote it: then it was left half-written, and the request
//     still says whether it is to run.
//
// So whoever reads the State sees one kind of model only, and a migration, which stores what is declared, changes nothing for them. The store calls this
// for every State that it publishes; it is free when neither requests nor stored models have changed, and costs little when only models have. Apart says that another goroutine makes States of
// the same tables at the same time, so that they are copied before they are changed.
func (s *State) WithRequests(apart bool) *State {
	c := *s
	if c.Requests.Len() == 0 {
		c.Models, c.Deployments, c.declared, c.made = c.StoredModels, c.StoredDeployments, nil, madeOf{}
		return &c
	}
	made := madeOf{c.StoredModels, c.StoredDeployments, c.Requests, c.Bad}
	if c.made == made {
		return &c
	}
	was := c.made
	c.made = made
	afresh := was.requests != made.requests
	models, deployments := c.Models, c.Deployments
	if afresh {
		c.declared = c.requestIndex()
		models, deployments = c.StoredModels, c.StoredDeployments
	}
	if apart {
		models, deployments = models.Copy(), deployments.Copy()
	}
	m, d := models.Edit(), deployments.Edit()
	if afresh {
		for i := range c.declared.models {
			c.count(m, d, c.declared.models[i].uid)
		}
	} else {
		c.touched(was, func(uid string) { c.count(m, d, uid) })
	}
	c.Models, c.Deployments = m.Done(), d.Done()
	return &c
}

// touched calls fn with every uid of which something is not as it was, but for the requests.
func (s *State) touched(was madeOf, fn func(uid string)) {
	s.StoredModels.Changed(was.models, fn)
	s.StoredDeployments.Changed(was.deployments, fn)
	s.Bad.Changed(was.bad, func(key string) {
		if uid, ok := strings.CutPrefix(key, "/deployments/"); ok {
			fn(uid)
		} else if uid, ok := strings.CutPrefix(key, "/models/"); ok {
			fn(strings.TrimSuffix(uid, "/spec"))
		}
	})
}

// count puts in place what counts of one uid, by the rule of [State.WithRequests].
func (s *State) count(models Edit[api.ModelSpec], deployments Edit[api.ModelDeployment], uid string) {
	x := s.declared.find(uid)
	spec, deployment := s.StoredModels.ref(uid), s.StoredDeployments.ref(uid)
	absent := spec == nil && !s.Bad.Has(specKey(uid))
	half := spec != nil && spec.Value.CreatedBy == MigratedBy
	switch {
	case spec != nil:
		models.share(spec)
	case x != nil && absent:
		models.share(x.spec)
	default:
		models.Delete(uid)
	}
	switch {
	case deployment != nil:
		deployments.share(deployment)
	case x != nil && (absent || half) && !s.Bad.Has(deploymentKey(uid)):
		deployments.share(x.deployment)
	default:
		deployments.Delete(uid)
	}
}

// requestIndex is the index that s has, or one made for the purpose when it has none.
func (s *State) requestIndex() *requestIndex {
	if s.declared != nil && s.declared.of == s.Requests {
		return s.declared
	}
	return indexRequests(s.Requests)
}

// find returns what is declared of a uid, or nil.
func (x *requestIndex) find(uid string) *declaration {
	i, ok := slices.BinarySearchFunc(x.models, uid, func(d declaration, uid string) int { return strings.Compare(d.uid, uid) })
	if !ok {
		return nil
	}
	return &x.models[i]
}

// indexRequests works out which request speaks for each uid. A request whose uid can be no key's is nobody's: [MigrationPlan] reports it.
func indexRequests(requests Set[api.ModelRequest]) *requestIndex {
	all := requests.Refs()
	slices.SortStableFunc(all, func(a, b *Entry[api.ModelRequest]) int {
		if c := strings.Compare(a.Value.Request.ModelUID, b.Value.Request.ModelUID); c != 0 {
			return c
		}
		return prior(&a.Value, &b.Value)
	})
	x := &requestIndex{of: requests}
	for i, e := range all {
		uid := e.Value.Request.ModelUID
		if !api.KnownUID(uid) || i > 0 && all[i-1].Value.Request.ModelUID == uid {
			continue
		}
		spec, deployment := Declared(&e.Value)
		x.models = append(x.models, declaration{
			uid, e.ID, &Entry[api.ModelSpec]{ID: uid, Rev: e.Rev, Value: spec}, &Entry[api.ModelDeployment]{ID: uid, Rev: e.Rev, Value: deployment},
		})
	}
	return x
}

// prior orders the requests of one uid: first the one that speaks for it.
func prior(a, b *api.ModelRequest) int {
	leaving := func(r *api.ModelRequest) bool { return r.Status.Phase == api.RequestUnloading }
	switch {
	case leaving(a) != leaving(b):
		if leaving(a) {
			return 1
		}
		return -1
	case a.CreatedAtMS != b.CreatedAtMS:
		if a.CreatedAtMS > b.CreatedAtMS {
			return -1
		}
		return 1
	}
	return -strings.Compare(a.ID, b.ID)
}

// Declared returns the documents that a request stands for, which are also those that a migration stores. A request that failed or is being unloaded
// is a model that is not to run; every other one is a model that is, those that the existing Nebula had not placed yet included.
func Declared(r *api.ModelRequest) (api.ModelSpec, api.ModelDeployment) {
	q := &r.Request
	spec := api.ModelSpec{
		ModelUID: q.ModelUID, ModelName: q.ModelName, ModelSource: api.SourceHuggingFace, EngineType: q.EngineType, DockerImage: q.DockerImage,
		Config: q.Config.Merge(nil), Labels: api.Labels{}, CreatedAtMS: r.CreatedAtMS, UpdatedAtMS: r.CreatedAtMS, CreatedBy: MigratedBy,
	}
	deployment := api.ModelDeployment{
		ModelUID: q.ModelUID, DesiredState: api.DesiredRunning, Replicas: q.Replicas, MinReplicas: q.MinReplicas, MaxReplicas: q.MaxReplicas,
		GPUAffinity: q.GPUs(), Version: 1, UpdatedAtMS: r.CreatedAtMS,
	}
	if q.NodeID != nil {
		deployment.NodeAffinity = *q.NodeID
	}
	switch r.Status.Phase {
	case api.RequestFailed, api.RequestUnloading:
		deployment.DesiredState = api.DesiredStopped
	}
	return spec, deployment.Clone()
}

// RequestsOf returns the requests of version 1 for a uid, in order of their ids.
func RequestsOf(s *State, uid string) (out []api.ModelRequest) {
	for _, e := range s.Requests.Refs() {
		if e.Value.Request.ModelUID == uid {
			out = append(out, e.Value)
		}
	}
	return out
}

// Speaks returns the id of the request of version 1 that declares what is not stored of a model.
func Speaks(s *State, uid string) (string, bool) {
	if x := s.requestIndex().find(uid); x != nil {
		return x.request, true
	}
	return "", false
}

// Unloaded returns the requests that are being unloaded and of which nothing runs any more, nor is planned, in order of their ids.
func Unloaded(s *State) (ids []string) {
	for _, e := range s.Requests.Refs() {
		r := &e.Value
		if r.Status.Phase != api.RequestUnloading {
			continue
		}
		uid, runs := r.Request.ModelUID, false
		if plan, ok := s.Placements.Value(uid); ok && len(plan.Assignments) > 0 {
			runs = true
		}
		for range s.Endpoints.Prefix(uid + "/") {
			runs = true
			break
		}
		if !runs {
			ids = append(ids, e.ID)
		}
	}
	return ids
}
