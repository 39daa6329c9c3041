package control_test

import (
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/audit"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/store"
)

// records returns the audit log, after its chain has been checked.
func (w *world) records() []api.AuditRecord {
	w.t.Helper()
	kvs, err := w.st.Records(w.t.Context(), store.AuditPrefix)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []api.AuditRecord
	var head api.AuditHead
	for _, kv := range kvs {
		r, err := audit.Read(kv.Value)
		if err == nil {
			err = audit.Follows(head, r)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		head = api.AuditHead{Seq: r.Seq, Hash: r.Hash}
		out = append(out, r)
	}
	if s, _ := w.st.Current(); len(out) > 0 {
		if end, _ := s.AuditHead.Value(api.AuditHeadID); end != head {
			w.t.Fatalf("the chain ends with %+v, the records with %+v", end, head)
		}
	}
	return out
}

func TestChange_isRecordedInItsOwnTransaction(t *testing.T) {
	w := newWorld(t)
	if _, err := w.CreateModel(ann(t), api.CreateModel{ModelName: "acme/m", ModelUID: "m", AutoStart: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.StopModel(ann(t), "m", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.StopModel(ann(t), "nobody", 0); !api.HasCode(err, api.CodeNotFound) {
		t.Fatal(err)
	}
	got := w.records()
	if len(got) != 2 {
		t.Fatalf("%d records of two changes and one that failed: %+v", len(got), got)
	}
	stop := got[1]
	if stop.Verb != "model.stop" || stop.Object != "model/m" || stop.Actor.ID != "ann" || stop.Source != "192.0.2.7" || stop.RequestID != "req_test" || stop.Result != api.AuditOK {
		t.Errorf("record %+v", stop)
	}
	var found bool
	for _, c := range stop.Changes {
		found = found || c.Document == "deployment m" && c.Field == "desired_state" && string(c.Before) == `"running"` && string(c.After) == `"stopped"`
	}
	if !found {
		t.Errorf("the change of desired_state is not in %+v", stop.Changes)
	}
	events, err := w.st.Records(t.Context(), store.EventsPrefix+"m/")
	if err != nil || len(events) != 2 || !strings.Contains(string(events[1].Value), `"running\" → \"stopped\""`) {
		t.Errorf("events %v, error %v", events, err)
	}
}

func TestChange_withoutACallerIsRefused(t *testing.T) {
	w := newWorld(t)
	if _, err := w.CreateModel(t.Context(), api.CreateModel{ModelName: "acme/m"}); err == nil || !strings.Contains(err.Error(), "without a caller") {
		t.Fatalf("error %v", err)
	}
	if s, _ := w.st.Current(); s.Models.Len() != 0 {
		t.Error("it was carried out all the same")
	}
}

func TestChange_dryRun(t *testing.T) {
	w := newWorld(t)
	who := &control.Caller{Actor: api.Actor{ID: "ann"}, DryRun: true}
	ctx := control.WithCaller(t.Context(), who)
	made, err := w.CreateModel(ctx, api.CreateModel{ModelName: "acme/m", ModelUID: "m", AutoStart: true})
	if err != nil || made.Spec.ModelUID != "m" || made.Status.State != api.StateStarting {
		t.Fatalf("%+v, error %v", made, err)
	}
	if s := w.After(ctx); !s.Models.Has("m") || !s.Deployments.Has("m") {
		t.Error("the State as it would be does not have the model")
	}
	if s, _ := w.st.Current(); s.Models.Has("m") || s.AuditHead.Len() != 0 {
		t.Error("a dry run changed the store")
	}
	if _, err := w.CreateModel(ctx, api.CreateModel{ModelName: "acme/m", ModelUID: "UPPER"}); !api.HasCode(err, api.CodeInvalidUID) {
		t.Errorf("error %v", err)
	}
}

func TestCreate_idempotent(t *testing.T) {
	d := newDepot(t)
	send := func(id, hash, name string) (api.ModelCreated, bool, error) {
		who := &control.Caller{Actor: api.Actor{ID: "ann"}, Idempotent: &control.Idempotent{ID: strings.Repeat(id, 64), RequestHash: hash}}
		made, err := d.CreateModel(control.WithCaller(t.Context(), who), api.CreateModel{ModelName: name})
		return made, who.Replayed, err
	}
	first, replayed, err := send("a", "1", "acme/new")
	if err != nil || replayed {
		t.Fatal(err, replayed)
	}
	again, replayed, err := send("a", "1", "acme/new")
	if err != nil || !replayed || again.Spec.ModelUID != first.Spec.ModelUID || again.Spec.CreatedAtMS != first.Spec.CreatedAtMS {
		t.Errorf("again %+v, replayed %v, error %v; want the first answer", again.Spec, replayed, err)
	}
	if _, _, err := send("a", "2", "acme/other"); !api.HasCode(err, api.CodeConflict) {
		t.Errorf("the same key with another request: %v", err)
	}
	if other, replayed, err := send("b", "1", "acme/new"); err != nil || replayed || other.Spec.ModelUID == first.Spec.ModelUID {
		t.Errorf("another key: %+v, replayed %v, error %v; want another model", other.Spec, replayed, err)
	}
}
