package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/live"
)

// modelRoutes are the rows about models.
func (s *server) modelRoutes() []Route {
	const models, model = "/api/v2/models", "/api/v2/models/{uid}"
	logQuery := []Param{
		{Name: "replica", Type: "integer", Summary: "Number of the replica; 0 when absent"},
		{Name: "node", Type: "string", Summary: "The log on this node, also when the replica is there no more; where it is when absent"},
		{Name: "tail", Type: "integer", Summary: "Only so many of the last lines"},
		{Name: "follow", Type: "boolean", Summary: "Stay, and send what is written from now on"},
		{Name: "previous", Type: "boolean", Summary: "The log of the engine before this one, after a restart"},
	}
	return []Route{
		{Method: "GET", Path: models, Role: auth.Viewer, Summary: "List models, or watch them", Query: modelFilters(), Sort: sortFields(modelOrders()), Response: []api.ModelView{}, Has: Pages | Watches | Resumes, Handle: s.listModels},
		{Method: "POST", Path: models, Role: auth.Operator, Summary: "Declare a model", Request: api.CreateModel{}, Response: api.ModelCreated{}, Status: 201, Has: Creates | DryRuns, Handle: s.createModel},
		{Method: "GET", Path: model, Role: auth.Viewer, Summary: "One model in detail, or watch it", Response: api.ModelDetail{}, Has: Conditional | Watches, Handle: s.getModel},
		{Method: "PUT", Path: model, Role: auth.Operator, Summary: "Change a model", Request: api.UpdateModel{}, Response: api.ModelWritten{}, Has: Conditional | DryRuns, Handle: s.updateModel},
		{Method: "DELETE", Path: model, Role: auth.Admin, Summary: "Remove a model; its files stay, unless ?purge=1", Query: []Param{{Name: "purge", Type: "boolean", Summary: "Remove its files, too"}}, Response: api.ModelDeleted{}, Has: Conditional | DryRuns, Handle: s.deleteModel},
		{Method: "POST", Path: model + "/start", Role: auth.Operator, Summary: "Wish a model to run", Request: api.StartModel{}, Response: api.DeploymentWritten{}, Has: Conditional | OptionalBody | DryRuns, Handle: s.startModel},
		{Method: "POST", Path: model + "/stop", Role: auth.Operator, Summary: "Wish a model to stop", Response: api.DeploymentWritten{}, Has: Conditional | DryRuns, Handle: s.stopModel},
		{Method: "PUT", Path: model + "/scale", Role: auth.Operator, Summary: "Change the number of replicas", Request: api.ScaleModel{}, Response: api.DeploymentWritten{}, Has: Conditional | DryRuns, Handle: s.scaleModel},
		{Method: "POST", Path: model + "/replicas/{id}/drain", Role: auth.Operator, Summary: "Let one replica finish its requests and go, when another has taken its place", Response: api.ReplicaDrain{}, Has: Conditional | DryRuns, Handle: s.drainReplica},
		{Method: "PUT", Path: model + "/deployment", Role: auth.Operator, Summary: "Replace the whole wish to run a model", Request: api.PutDeployment{}, Response: api.DeploymentWritten{}, Has: Conditional | DryRuns, Handle: s.putDeployment},
		{Method: "GET", Path: model + "/logs", Role: auth.Operator, Summary: "Log of a replica's engine", Query: logQuery, Media: "text/plain", Handle: s.modelLogs},
	}
}

func modelFilters() []Param {
	states := make([]string, 0, len(api.ModelStates()))
	for _, s := range api.ModelStates() {
		states = append(states, string(s))
	}
	return []Param{
		searchParam("its uid, its name or the value of a label"),
		{Name: "state", Type: "string", Summary: "Models in this state only", Enum: states},
		{Name: "label", Type: "string", Summary: "Models with this label only: key=value; several times: with all of them"},
		{Name: "engine", Type: "string", Summary: "Models of this engine only", Enum: api.Engines()},
	}
}

func (s *server) createModel(w http.ResponseWriter, r *http.Request) error {
	var req api.CreateModel
	if err := decode(r, &req, false); err != nil {
		return err
	}
	made, err := s.Control.CreateModel(r.Context(), req)
	if err != nil {
		return err
	}
	made.Explanation = s.foretell(r, made.Spec.ModelUID)
	s.setETag(w, made.Spec.ModelUID)
	w.Header().Set("Location", "/api/v2/models/"+made.Spec.ModelUID)
	writeJSON(w, http.StatusCreated, made)
	return nil
}

// setETag sends the revision of a model's wish as it is now.
func (s *server) setETag(w http.ResponseWriter, uid string) {
	st, _ := s.View.Current()
	if rev := cluster.Revision(st, uid); rev > 0 {
		w.Header().Set("ETag", etag(rev))
	}
}

func (s *server) updateModel(w http.ResponseWriter, r *http.Request) error {
	return change(s, w, r, false, s.Control.UpdateModel, modelWritten)
}

func (s *server) startModel(w http.ResponseWriter, r *http.Request) error {
	return change(s, w, r, true, s.Control.StartModel, deploymentWritten)
}

func (s *server) scaleModel(w http.ResponseWriter, r *http.Request) error {
	return change(s, w, r, false, s.Control.ScaleModel, deploymentWritten)
}

func (s *server) putDeployment(w http.ResponseWriter, r *http.Request) error {
	return change(s, w, r, false, s.Control.PutDeployment, deploymentWritten)
}

func (s *server) stopModel(w http.ResponseWriter, r *http.Request) error {
	rev, err := ifMatch(r)
	if err != nil {
		return err
	}
	dep, err := s.Control.StopModel(r.Context(), r.PathValue("uid"), rev)
	if err != nil {
		return err
	}
	s.setETag(w, dep.ModelUID)
	writeJSON(w, http.StatusOK, deploymentWritten(dep, s.foretell(r, dep.ModelUID)))
	return nil
}

func (s *server) drainReplica(w http.ResponseWriter, r *http.Request) error {
	rev, err := ifMatch(r)
	if err != nil {
		return err
	}
	uid, id := r.PathValue("uid"), r.PathValue("id")
	replica, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return api.Errorf(api.CodeNotFound, "%.40q is not the number of a replica: look for those of a model with: nebula endpoint list --model UID", id)
	}
	out, err := s.Control.DrainReplica(r.Context(), uid, uint32(replica), rev)
	if err != nil {
		return err
	}
	out.Explanation = s.foretell(r, uid)
	s.setETag(w, uid)
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (s *server) deleteModel(w http.ResponseWriter, r *http.Request) error {
	rev, err := ifMatch(r)
	if err != nil {
		return err
	}
	uid := r.PathValue("uid")
	done := api.ModelDeleted{ModelUID: uid, Status: "deleted"}
	if queryBool(r, "purge") {
		purged, err := s.Control.PurgeModel(r.Context(), uid, rev)
		if err != nil {
			return err
		}
		s.Log.Info("model deleted with its files", "model", uid, "nodes", len(purged.Nodes), "kept", purged.Kept, "by", caller(r))
		done.Purge = &purged
	} else if err := s.Control.DeleteModel(r.Context(), uid, rev); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, done)
	return nil
}

func (s *server) listModels(w http.ResponseWriter, r *http.Request) error {
	match, err := modelFilter(r)
	if err != nil {
		return err
	}
	if watching(r) {
		if _, err := orderOf(r, itemID, modelOrders()); err != nil { // a watch has none, and who asks for one that there is not is mistaken
			return err
		}
		return s.follow(w, r, &watcher{
			list: s.models, kind: "model", match: match, deleted: func(uid string) any { return map[string]string{"model_uid": uid} },
		})
	}
	return s.pageModels(w, r, match)
}

func (s *server) pageModels(w http.ResponseWriter, r *http.Request, match func(*live.Facts) bool) error {
	o, err := orderOf(r, itemID, modelOrders())
	if err != nil {
		return err
	}
	limit, err := limitOf(r)
	if err != nil {
		return err
	}
	table, err := s.models.Current()
	if err != nil {
		return err
	}
	all := table.Sorted(o.name, live.Order{
		Sort:    o.sort,
		Compare: func(a, b *live.Item) int { return o.compare(o.place(&a), o.place(&b)) },
	})
	start, err := o.start(r, all)
	if err != nil {
		return err
	}
	var items []*live.Item
	total, more := 0, false
	for n, i := range all {
		switch {
		case !i.Is(match):
			continue
		case n < start:
		case limit == 0 || len(items) < limit:
			items = append(items, i)
		default:
			more = true
		}
		total++
	}
	if more {
		linkNext(w, r, o.cursor(r, &items[limit-1]))
	}
	tellTotal(w, total)
	w.Header().Set("Nebula-Revision", strconv.FormatInt(table.Revision(), 10))
	writeItems(w, items)
	return nil
}

func itemID(i **live.Item) string { return (*i).ID }

// modelFilter reads q, state, label and engine; nil lets every model through. What it does not understand is refused, not ignored.
func modelFilter(r *http.Request) (func(*live.Facts) bool, error) {
	text, err := searchOf(r)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	state := api.ModelState(q.Get("state"))
	if state != "" && !slices.Contains(api.ModelStates(), state) {
		return nil, api.Errorf(api.CodeInvalidRequest, "state %.40q is unknown: use one of stopped, downloading, starting, running, degraded, failed, stopping", state)
	}
	engine := q.Get("engine")
	if engine != "" && !slices.Contains(api.Engines(), engine) {
		return nil, api.Errorf(api.CodeInvalidRequest, "engine %.40q is unknown: use one of %s", engine, strings.Join(api.Engines(), ", "))
	}
	labels := map[string]string{} // each key once
	for _, label := range q["label"] {
		key, value, ok := strings.Cut(label, "=")
		if label != "" && (!ok || key == "") {
			return nil, api.Errorf(api.CodeInvalidRequest, "label must be key=value, not %.80q", label)
		}
		if other, twice := labels[key]; twice && other != value {
			return nil, api.Errorf(api.CodeInvalidRequest, "label %.80q can have one value only", key)
		}
		if label != "" {
			labels[key] = value
		}
	}
	if state == "" && engine == "" && len(labels) == 0 && text == "" {
		return nil, nil
	}
	wanted := live.LabelsOf(labels)
	return func(f *live.Facts) bool {
		for _, label := range wanted {
			if !slices.Contains(f.Labels, label) {
				return false
			}
		}
		return (state == "" || f.State == state) && (engine == "" || f.Engine == engine) && strings.Contains(f.Text, text)
	}, nil
}

func (s *server) getModel(w http.ResponseWriter, r *http.Request) error {
	uid := r.PathValue("uid")
	st, _ := s.View.Current()
	detail, ok := cluster.Detail(st, uid, s.Now())
	if !ok {
		return api.Errorf(api.CodeNotFound, "there is no model with the uid %.80q; list them with: nebula model list", uid)
	}
	if watching(r) {
		return s.watchModel(w, r, uid)
	}
	w.Header().Set("ETag", etag(detail.Revision))
	writeJSON(w, http.StatusOK, detail)
	return nil
}

func (s *server) modelLogs(w http.ResponseWriter, r *http.Request) error {
	uid := r.PathValue("uid")
	st, _ := s.View.Current()
	if !api.KnownUID(uid) || !st.Models.Has(uid) {
		return api.Errorf(api.CodeNotFound, "there is no model with the uid %.80q; list them with: nebula model list", uid)
	}
	replica, err := queryInt(r, "replica", 0, 0, 1<<31-1)
	if err != nil {
		return err
	}
	tail, err := queryInt(r, "tail", 0, 0, 1_000_000)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() { // ends with this call
		select {
		case <-s.Closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	log, err := s.Logs.OpenLog(ctx, uid, uint32(replica), LogOptions{
		Node: r.URL.Query().Get("node"), Tail: tail, Follow: r.Method == http.MethodGet && queryBool(r, "follow"), Previous: queryBool(r, "previous"),
	})
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	return relay(w, log)
}

func clip(s string) string { return s[:min(len(s), 80)] }
