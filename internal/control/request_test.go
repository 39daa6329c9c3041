package control_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/store"
)

// oldClient writes a request into the store directly, as old clients do, and returns when the store has seen it.
func (w *world) oldClient(id, uid string, at int64, status string) {
	w.t.Helper()
	doc := fmt.Sprintf(`{"id":%q,"request":{"model_name":"acme/Demo","model_uid":%q},"status":%s,"created_at_ms":%d,"theirs":1}`, id, uid, status, at)
	if _, err := w.kv.Txn(ann(w.t), nil, []store.Op{{Key: "/model_requests/" + id, Value: []byte(doc)}}); err != nil {
		w.t.Fatal(err)
	}
	w.await(func() bool { s, _ := w.st.Current(); return s.Requests.Has(id) })
}

func (w *world) state() *cluster.State {
	s, _ := w.st.Current()
	return s
}

func (w *world) stored(uid string) (spec, deployment bool) {
	s := w.state()
	return s.StoredModels.Has(uid), s.StoredDeployments.Has(uid)
}

func code(t *testing.T, err error) api.Code {
	t.Helper()
	e, ok := errors.AsType[*api.Error](err)
	if !ok {
		t.Fatalf("%v is no error for people", err)
	}
	return e.Code
}

// TestRequest_lifeOfAModel is that of a model that only version 1 knows: loaded, scaled, unloaded, gone.
func TestRequest_lifeOfAModel(t *testing.T) {
	w := newWorld(t)
	r, err := w.LoadModel(ann(t), api.ModelLoadRequest{ModelName: "acme/Demo", ModelUID: "qwen2_5_0_5b", Replicas: 1})
	if err != nil || r.Status.Phase != api.RequestPending {
		t.Fatal(r, err)
	}
	if d, _ := w.state().Deployments.Value("qwen2_5_0_5b"); d.DesiredState != api.DesiredRunning || d.Replicas != 1 {
		t.Errorf("after load the wish is %+v", d)
	}
	if before, err := w.ScaleRequest(ann(t), r.ID, 3); err != nil || before != 1 {
		t.Error(before, err)
	}
	if d, _ := w.state().Deployments.Value("qwen2_5_0_5b"); d.Replicas != 3 {
		t.Errorf("after scale the wish is %+v", d)
	}
	if err := w.UnloadRequest(ann(t), r.ID); err != nil {
		t.Error(err)
	}
	if d, _ := w.state().Deployments.Value("qwen2_5_0_5b"); d.DesiredState != api.DesiredStopped {
		t.Errorf("after unload the wish is %+v", d)
	}
	if err := w.SweepRequests(t.Context()); err != nil {
		t.Error(err)
	}
	if s := w.state(); s.Requests.Len() != 0 || s.Models.Has("qwen2_5_0_5b") {
		t.Error("the request stays when nothing of it runs any more")
	}
	if spec, dep := w.stored("qwen2_5_0_5b"); spec || dep {
		t.Error("version 1's model was stored as one of version 2")
	}
	events, err := w.ModelEvents(t.Context(), "qwen2_5_0_5b")
	var verbs []string
	for _, e := range events {
		verbs = append(verbs, e.Verb)
	}
	if want := []string{"request.load", "request.scale", "request.unload", "request.unloaded"}; err != nil || !slices.Equal(verbs, want) {
		t.Errorf("the history tells %v, want %v (%v)", verbs, want, err)
	}
}

// TestRequest_sweepWaits keeps a request as long as something of its model runs or is planned.
func TestRequest_sweepWaits(t *testing.T) {
	w := newWorld(t)
	w.oldClient("r1", "m", 1, `"Unloading"`)
	if _, err := w.st.Update(t.Context(), store.OwnerNode, func(tx *store.Tx) error {
		return store.Endpoints.Put(tx, "m/0", api.EndpointInfo{ModelUID: "m", NodeID: "n1"})
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.SweepRequests(t.Context()); err != nil || !w.state().Requests.Has("r1") {
		t.Error("the request went while an engine was there", err)
	}
}

// TestRequest_refusals are the bad inputs of version 1's verbs.
func TestRequest_refusals(t *testing.T) {
	w := newWorld(t)
	w.create(api.CreateModel{ModelName: "acme/other", ModelUID: "taken"})
	for name, c := range map[string]struct {
		q    api.ModelLoadRequest
		want api.Code
	}{
		"no name":            {api.ModelLoadRequest{ModelUID: "m", Replicas: 1}, api.CodeInvalidRequest},
		"no uid":             {api.ModelLoadRequest{ModelName: "acme/Demo", Replicas: 1}, api.CodeInvalidUID},
		"a uid with a slash": {api.ModelLoadRequest{ModelName: "acme/Demo", ModelUID: "../auth/users/x", Replicas: 1}, api.CodeInvalidUID},
		"too many replicas":  {api.ModelLoadRequest{ModelName: "acme/Demo", ModelUID: "m", Replicas: 4_000_000_000}, api.CodeInvalidRequest},
		"another engine":     {api.ModelLoadRequest{ModelName: "acme/Demo", ModelUID: "m", Replicas: 1, EngineType: "abacus"}, api.CodeInvalidRequest},
		"a taken uid":        {api.ModelLoadRequest{ModelName: "acme/Demo", ModelUID: "taken", Replicas: 1}, api.CodeModelExists},
	} {
		if _, err := w.LoadModel(ann(t), c.q); err == nil || code(t, err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	for _, id := range []string{"", "nobody", "../x", "a/b"} {
		if err := w.UnloadRequest(ann(t), id); code(t, err) != api.CodeNotFound {
			t.Errorf("unload of %q: %v", id, err)
		}
		if _, err := w.ScaleRequest(ann(t), id, 1); code(t, err) != api.CodeNotFound {
			t.Errorf("scale of %q: %v", id, err)
		}
	}
	w.oldClient("r1", "m", 1, `"Running"`)
	if _, err := w.ScaleRequest(ann(t), "r1", 4_000_000_000); code(t, err) != api.CodeInvalidRequest {
		t.Errorf("scale beyond the limit: %v", err)
	}
	if w.state().Requests.Len() != 1 {
		t.Error("a refused load left a request")
	}
}

// TestRequest_ofAStoredModel: version 1's verbs work on the stored model in the same transaction, and never beside it.
func TestRequest_ofAStoredModel(t *testing.T) {
	w := newWorld(t)
	w.create(api.CreateModel{ModelName: "acme/Demo", ModelUID: "m"})
	r, err := w.LoadModel(ann(t), api.ModelLoadRequest{ModelName: "acme/Demo", ModelUID: "m", Replicas: 2})
	if err != nil {
		t.Fatal(err)
	}
	wish := func() api.ModelDeployment { d, _ := w.state().StoredDeployments.Value("m"); return d }
	if d := wish(); d.DesiredState != api.DesiredRunning || d.Replicas != 2 {
		t.Errorf("after load: %+v", d)
	}
	if _, err := w.ScaleRequest(ann(t), r.ID, 4); err != nil || wish().Replicas != 4 {
		t.Errorf("after scale: %+v, %v", wish(), err)
	}
	if err := w.UnloadRequest(ann(t), r.ID); err != nil || wish().DesiredState != api.DesiredStopped {
		t.Errorf("after unload: %+v, %v", wish(), err)
	}
	if _, err := w.ScaleRequest(ann(t), r.ID, 4); code(t, err) != api.CodeModelStopped {
		t.Errorf("scale of a stopped model: %v", err)
	}
	if err := w.SweepRequests(t.Context()); err != nil || !w.state().StoredModels.Has("m") || w.state().Requests.Len() != 0 {
		t.Error("unload took the model that version 2 declared, or left the request", err)
	}
}

// TestRequest_verbsOfVersion2 store what a request declares on the way, both documents or none, and delete it with its model.
func TestRequest_verbsOfVersion2(t *testing.T) {
	t.Run("stop", func(t *testing.T) {
		w := newWorld(t)
		w.oldClient("r1", "m", 1, `"Running"`)
		d, err := w.StopModel(ann(t), "m", 0)
		if err != nil || d.Version != 2 {
			t.Fatal(d, err)
		}
		if spec, dep := w.stored("m"); !spec || !dep {
			t.Error("only one of the two documents is stored")
		}
		if d, _ := w.state().Deployments.Value("m"); d.DesiredState != api.DesiredStopped {
			t.Error("the request still counts")
		}
	})
	t.Run("change", func(t *testing.T) {
		w := newWorld(t)
		w.oldClient("r1", "m", 1, `"Running"`)
		if _, err := w.PatchModel(ann(t), "m", api.PatchModel{"labels": json.RawMessage(`{"a":"b"}`)}, 0); err != nil {
			t.Fatal(err)
		}
		if d, ok := w.state().StoredDeployments.Value("m"); !ok || d.DesiredState != api.DesiredRunning {
			t.Error("the model would stop, because its deployment was not stored with its spec")
		}
	})
	t.Run("create", func(t *testing.T) {
		w := newWorld(t)
		w.oldClient("r1", "demo", 1, `"Running"`)
		if _, err := w.CreateModel(ann(t), api.CreateModel{ModelName: "acme/x", ModelUID: "demo"}); code(t, err) != api.CodeModelExists {
			t.Errorf("a uid that a request has was given away: %v", err)
		}
		if made := w.create(api.CreateModel{ModelName: "demo"}); made.Spec.ModelUID != "demo-2" {
			t.Errorf("derived is %s", made.Spec.ModelUID)
		}
	})
	t.Run("delete", func(t *testing.T) {
		w := newWorld(t)
		w.oldClient("r1", "m", 1, `"Running"`)
		w.oldClient("r2", "m", 2, `"Pending"`)
		if err := w.DeleteModel(ann(t), "m", 0); err != nil {
			t.Fatal(err)
		}
		if s := w.state(); s.Models.Has("m") || s.Requests.Len() != 0 {
			t.Error("a request declares the deleted model again")
		}
	})
	t.Run("save as template", func(t *testing.T) {
		w := newWorld(t)
		w.oldClient("r1", "m", 1, `"Running"`)
		if tpl, err := w.SaveTemplate(ann(t), "m", api.SaveTemplate{Name: "T"}, false); err != nil || tpl.ModelName != "acme/Demo" {
			t.Error(tpl, err)
		}
	})
	t.Run("stale", func(t *testing.T) {
		w := newWorld(t)
		w.oldClient("r1", "m", 1, `"Running"`)
		if _, err := w.StopModel(ann(t), "m", 999_999); code(t, err) != api.CodeRevisionMismatch {
			t.Error(err)
		}
		if _, err := w.StopModel(ann(t), "m", cluster.Revision(w.state(), "m")); err != nil {
			t.Error(err)
		}
	})
}

// TestMigrate_race: two migrations at once, over more models than one transaction holds, end as one does.
func TestMigrate_race(t *testing.T) {
	w := newWorld(t)
	const n = 50
	for i := range n {
		w.oldClient(fmt.Sprintf("r%02d", i), fmt.Sprintf("m%02d", i), 1, `"Running"`)
	}
	w.oldClient("x1", "a/b", 1, `"Running"`)
	w.oldClient("x2", "m00", 0, `"Running"`)
	w.corrupt("/model_requests/x3")
	dry, err := w.Migrate(control.WithCaller(t.Context(), &control.Caller{Actor: api.Actor{ID: "ann", Kind: "user"}, DryRun: true}))
	if err != nil || dry.Migrated != n || w.state().StoredModels.Len() != 0 {
		t.Fatalf("dry run: %+v, %v; %d stored", dry, err, w.state().StoredModels.Len())
	}
	reports := make([]api.Migration, 2)
	for _, err := range together(2, func(i int) (err error) { reports[i], err = w.Migrate(ann(t)); return err }) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range reports {
		if r.Total != n+3 || r.Failed != 2 || r.Migrated+r.Skipped != n+1 {
			t.Errorf("report %+v", r)
		}
	}
	if got := reports[0].Migrated + reports[1].Migrated; got != n {
		t.Errorf("the two migrated %d models, want each of %d once", got, n)
	}
	s := w.state()
	if s.StoredModels.Len() != n || s.StoredDeployments.Len() != n || s.Requests.Len() != n+2 {
		t.Errorf("%d specs, %d deployments, %d requests", s.StoredModels.Len(), s.StoredDeployments.Len(), s.Requests.Len())
	}
	rev := s.Revision
	if again, err := w.Migrate(ann(t)); err != nil || again.Migrated != 0 || w.state().Revision != rev {
		t.Errorf("again: %+v, %v, or something was written", again, err)
	}
}
