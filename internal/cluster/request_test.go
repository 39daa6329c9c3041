package cluster_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// old builds a State out of documents as a store would hold them.
type old struct{ s cluster.State }

func put[T any](set *cluster.Set[T], id string, rev int64, v T) {
	e := set.Edit()
	e.Put(cluster.Entry[T]{ID: id, Rev: rev, Value: v})
	*set = e.Done()
}

func (o *old) request(id, uid string, at int64, phase api.RequestPhase) *old {
	put(&o.s.Requests, id, 7, api.ModelRequest{
		ID: id, Request: api.ModelLoadRequest{ModelUID: uid, ModelName: "acme/" + id, Replicas: 2}, Status: api.RequestStatus{Phase: phase}, CreatedAtMS: at,
	})
	return o
}

func (o *old) spec(uid, by string) *old {
	put(&o.s.StoredModels, uid, 3, api.ModelSpec{ModelUID: uid, ModelName: "stored", CreatedBy: by})
	return o
}

func (o *old) deployment(uid string) *old {
	put(&o.s.StoredDeployments, uid, 4, api.ModelDeployment{ModelUID: uid, DesiredState: api.DesiredStopped, Replicas: 5})
	return o
}

func (o *old) bad(key string) *old {
	put(&o.s.Bad, key, 5, cluster.BadValue{Key: key, Err: "not JSON"})
	return o
}

func (o *old) state() *cluster.State { return o.s.WithRequests(false) }

// TestWithRequests_rule is the one rule for who says what a model is.
func TestWithRequests_rule(t *testing.T) {
	for name, c := range map[string]struct {
		of      *old
		model   string // its name; empty: there is none
		desired string // state and replicas of its deployment
		plan    string // what a migration does
	}{
		"a request alone":                          {(&old{}).request("r1", "m", 1, api.RequestRunning), "acme/r1", "running 2", "r1 migrated running"},
		"one that waits runs":                      {(&old{}).request("r1", "m", 1, api.RequestPending), "acme/r1", "running 2", "r1 migrated running"},
		"one that failed is stopped":               {(&old{}).request("r1", "m", 1, api.RequestFailed), "acme/r1", "stopped 2", "r1 migrated stopped"},
		"one that is unloaded is stopped":          {(&old{}).request("r1", "m", 1, api.RequestUnloading), "acme/r1", "stopped 2", "r1 migrated stopped"},
		"a stored model counts":                    {(&old{}).request("r1", "m", 1, api.RequestRunning).spec("m", "eve").deployment("m"), "stored", "stopped 5", "r1 skipped"},
		"one that was never started, too":          {(&old{}).request("r1", "m", 1, api.RequestRunning).spec("m", "eve"), "stored", "", "r1 skipped"},
		"half a migration is not never started":    {(&old{}).request("r1", "m", 1, api.RequestRunning).spec("m", "migration"), "stored", "running 2", "r1 migrated running"},
		"a stored deployment counts":               {(&old{}).request("r1", "m", 1, api.RequestRunning).deployment("m"), "acme/r1", "stopped 5", "r1 migrated stopped"},
		"the newest of two":                        {(&old{}).request("r1", "m", 2, api.RequestRunning).request("r2", "m", 1, api.RequestFailed), "acme/r1", "running 2", "r1 migrated running, r2 skipped"},
		"of two as old, the later id":              {(&old{}).request("r1", "m", 1, api.RequestFailed).request("r2", "m", 1, api.RequestRunning), "acme/r2", "running 2", "r1 skipped, r2 migrated running"},
		"the newest that is not unloaded":          {(&old{}).request("r1", "m", 1, api.RequestRunning).request("r2", "m", 2, api.RequestUnloading), "acme/r1", "running 2", "r1 migrated running, r2 skipped"},
		"an unreadable spec is not absent":         {(&old{}).request("r1", "m", 1, api.RequestRunning).bad("/models/m/spec"), "", "", "r1 failed"},
		"nor is an unreadable deployment":          {(&old{}).request("r1", "m", 1, api.RequestRunning).bad("/deployments/m"), "acme/r1", "", "r1 failed"},
		"a uid that no key can have":               {(&old{}).request("r1", "a/b", 1, api.RequestRunning), "", "", "r1 failed"},
		"a request that cannot be read":            {(&old{}).bad("/model_requests/r1"), "", "", "r1 failed"},
		"one of a uid that new models cannot have": {(&old{}).request("r1", "M_1.5", 1, api.RequestRunning), "", "", "r1 migrated running"},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.of.state()
			spec, _ := s.Models.Value("m")
			d, deployed := s.Deployments.Value("m")
			desired := ""
			if deployed {
				desired = fmt.Sprintf("%s %d", d.DesiredState, d.Replicas)
			}
			if spec.ModelName != c.model || desired != c.desired {
				t.Errorf("the model is %q %q, want %q %q", spec.ModelName, desired, c.model, c.desired)
			}
			plan := ""
			for _, step := range cluster.MigrationPlan(s) {
				if plan != "" {
					plan += ", "
				}
				plan += step.RequestID + " " + step.Action
				if step.DesiredState != "" {
					plan += " " + string(step.DesiredState)
				}
				if step.Pending() != (step.Action == api.MigrationMigrated) {
					t.Errorf("%s is %s, and pending is %v", step.RequestID, step.Action, step.Pending())
				}
				if step.Action != api.MigrationMigrated && step.Reason == "" {
					t.Errorf("%s is %s without a reason", step.RequestID, step.Action)
				}
			}
			if plan != c.plan {
				t.Errorf("a migration does %q, want %q", plan, c.plan)
			}
		})
	}
}

// TestWithRequests_sharesWhatIsTheSame: readers compare entries by pointer to find what changed.
func TestWithRequests_sharesWhatIsTheSame(t *testing.T) {
	before := (&old{}).request("r1", "a", 1, api.RequestRunning).request("r2", "b", 1, api.RequestRunning).state()
	next := *before
	put(&next.StoredModels, "c", 9, api.ModelSpec{ModelUID: "c"})
	var changed []string
	next.WithRequests(false).Models.Changed(before.Models, func(id string) { changed = append(changed, id) })
	if !slices.Equal(changed, []string{"c"}) {
		t.Errorf("changed are %v, want c alone", changed)
	}
	if again := before.WithRequests(false); again.Models != before.Models || again.Deployments != before.Deployments {
		t.Error("nothing changed, and yet there are other tables")
	}
	apart := *before
	put(&apart.Requests, "r3", 9, api.ModelRequest{ID: "r3", Request: api.ModelLoadRequest{ModelUID: "d"}})
	if apart.WithRequests(true); before.Models.Has("d") || before.StoredModels.Len() != 0 {
		t.Error("a State made apart changed the one it was made of")
	}
}

// TestWithRequests_stepByStep: a State made of the one before it is the same as one made of what is stored alone, whatever has changed in between.
func TestWithRequests_stepByStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := randomOld(t).state()
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			o := &old{*s}
			uid := rapid.SampledFrom([]string{"a", "b", "c", "B_1"}).Draw(t, "uid")
			drop := rapid.Bool().Draw(t, "drop")
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				if o.spec(uid, rapid.SampledFrom([]string{"eve", cluster.MigratedBy}).Draw(t, "by")); drop {
					remove(&o.s.StoredModels, uid)
				}
			case 1:
				if o.deployment(uid); drop {
					remove(&o.s.StoredDeployments, uid)
				}
			case 2:
				if o.bad("/models/" + uid + "/spec"); drop {
					remove(&o.s.Bad, "/models/"+uid+"/spec")
				}
			case 3:
				if o.bad("/deployments/" + uid); drop {
					remove(&o.s.Bad, "/deployments/"+uid)
				}
			default:
				if o.request("r"+uid, uid, 2, api.RequestRunning); drop {
					remove(&o.s.Requests, "r"+uid)
				}
			}
			s = o.s.WithRequests(rapid.Bool().Draw(t, "apart"))
			alone := &cluster.State{StoredModels: s.StoredModels, StoredDeployments: s.StoredDeployments, Requests: s.Requests, Bad: s.Bad}
			if got, want := wishesOf(s), wishesOf(alone.WithRequests(true)); !reflect.DeepEqual(got, want) {
				t.Fatalf("step by step it is\n%v\nand at once\n%v", got, want)
			}
		}
	})
}

func remove[T any](set *cluster.Set[T], id string) {
	e := set.Edit()
	e.Delete(id)
	*set = e.Done()
}

// carry applies the pending steps of a plan, but for those that skip leaves out.
func carry(s *cluster.State, steps []cluster.MigrationStep, skip func() bool) *cluster.State {
	next := *s
	for _, step := range steps {
		if skip() {
			continue
		}
		if step.Spec != nil {
			put(&next.StoredModels, step.ModelUID, 20, *step.Spec)
		}
		if step.Deployment != nil {
			put(&next.StoredDeployments, step.ModelUID, 20, *step.Deployment)
		}
	}
	return next.WithRequests(false)
}

func wishesOf(s *cluster.State) map[string]any {
	out := map[string]any{}
	for e := range s.Models.All() {
		out["spec "+e.ID] = e.Value
	}
	for e := range s.Deployments.All() {
		out["deployment "+e.ID] = e.Value
	}
	return out
}

// randomOld draws an old cluster: requests, models, halves of models and garbage, of few uids.
func randomOld(t *rapid.T) *old {
	o := &old{}
	uids := rapid.SampledFrom([]string{"a", "b", "c", "B_1", "x/y", ""})
	n := rapid.IntRange(0, 12).Draw(t, "n")
	for i := range n {
		uid := uids.Draw(t, "uid")
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			if api.KnownUID(uid) {
				o.spec(uid, rapid.SampledFrom([]string{"eve", cluster.MigratedBy}).Draw(t, "by"))
			}
		case 1:
			if api.KnownUID(uid) {
				o.deployment(uid)
			}
		case 2:
			if key := "/models/" + uid + "/spec"; api.KnownUID(uid) && !o.s.StoredModels.Has(uid) {
				o.bad(key)
			}
		default:
			phase := rapid.SampledFrom([]api.RequestPhase{
				api.RequestPending, api.RequestScheduled, api.RequestRunning, api.RequestUnloading, api.RequestFailed,
			}).Draw(t, "phase")
			o.request(fmt.Sprintf("r%02d", i), uid, int64(rapid.IntRange(0, 3).Draw(t, "at")), phase)
		}
	}
	return o
}

// TestMigration_property: what a migration stores is what counted already, so nothing that runs can notice; twice is once, and once in two halves is, too.
func TestMigration_property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := randomOld(t).state()
		after := carry(before, cluster.MigrationPlan(before), func() bool { return false })
		if a, b := wishesOf(before), wishesOf(after); !reflect.DeepEqual(a, b) {
			t.Fatalf("a migration changes what is wished:\n%v\n%v", slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b)))
		}
		for _, step := range cluster.MigrationPlan(after) {
			if step.Pending() {
				t.Fatalf("after a migration %s of %s is still to be done", step.RequestID, step.ModelUID)
			}
		}
		half := carry(before, cluster.MigrationPlan(before), func() bool { return rapid.Bool().Draw(t, "broken off") })
		whole := carry(half, cluster.MigrationPlan(half), func() bool { return false })
		if !reflect.DeepEqual(wishesOf(whole), wishesOf(after)) || whole.StoredModels.Len() != after.StoredModels.Len() {
			t.Fatal("a migration in two halves is another one")
		}
		if len(cluster.MigrationPlan(before)) != before.Requests.Len() {
			t.Fatal("a request is in no report")
		}
	})
}

// TestModelRequest_forms reads what old clients write, and writes what they read.
func TestModelRequest_forms(t *testing.T) {
	const head = `{"id":"i","request":{"model_name":"n","model_uid":"u"`
	for in, want := range map[string]string{
		head + `},"status":"Pending","created_at_ms":5}`: head +
			`,"replicas":1,"config":null,"node_id":null,"gpu_index":null,"gpu_indices":null},"status":"Pending","created_at_ms":5}`,
		head + `,"replicas":0,"gpu_index":3,"node_id":"n1","unknown":{}},"status":{"Failed":"why"},"created_at_ms":5,"more":1}`: head +
			`,"replicas":0,"config":null,"node_id":"n1","gpu_index":3,"gpu_indices":null},"status":{"Failed":"why"},"created_at_ms":5}`,
		head + `},"status":"failed","created_at_ms":5}`: head +
			`,"replicas":1,"config":null,"node_id":null,"gpu_index":null,"gpu_indices":null},"status":{"Failed":""},"created_at_ms":5}`,
		head + `},"status":"UnLoaded","created_at_ms":5}`: head +
			`,"replicas":1,"config":null,"node_id":null,"gpu_index":null,"gpu_indices":null},"status":"Unloading","created_at_ms":5}`,
		head + `,"replicas":-1},"status":"Pending","created_at_ms":5}`:                        "",
		head + `,"replicas":1.5},"status":"Pending","created_at_ms":5}`:                       "",
		head + `},"status":"Sleeping","created_at_ms":5}`:                                     "",
		head + `},"status":{"Running":"x"},"created_at_ms":5}`:                                "",
		head + `},"status":{},"created_at_ms":5}`:                                             "",
		head + `},"status":7,"created_at_ms":5}`:                                              "",
		head + `},"created_at_ms":5}`:                                                         "",
		head + `},"status":"Pending"}`:                                                        "",
		head + `},"status":"Pending","created_at_ms":-5}`:                                     "",
		head + `},"status":"Pending","created_at_ms":18446744073709551615}`:                   "",
		`{"id":"i","status":"Pending","created_at_ms":5}`:                                     "",
		`{"id":"i","request":{"model_uid":"u"},"status":"Pending","created_at_ms":5}`:         "",
		`{"request":{"model_uid":"u","model_name":"n"},"status":"Pending","created_at_ms":5}`: "",
	} {
		var r api.ModelRequest
		err := json.Unmarshal([]byte(in), &r)
		if (err == nil) != (want != "") {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if out, _ := json.Marshal(r); err == nil && string(out) != want {
			t.Errorf("%s\nis written as\n%s, want\n%s", in, out, want)
		}
	}
}
