package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
)

// v1ObserveRoutes are version 1's rows about what goes on. Those that asked a product beside Nebula answer from our own data, or say what does.
func (s *server) v1ObserveRoutes() []Route {
	const observe = "/api/observe"
	search := []Param{
		{Name: "q", Type: "string", Summary: "What to look for"},
		{Name: "source", Type: "string", Summary: "huggingface; whatever is not modelscope counts as it"},
		{Name: "provider", Type: "string", Summary: "The same as source"},
		{Name: "limit", Type: "integer", Summary: "How many at most: 20 when absent, 50 at most"},
	}
	audit := []Param{
		{Name: "page", Type: "integer", Summary: "From 1 on"},
		{Name: "limit", Type: "integer", Summary: "How many on a page: 50 when absent, 200 at most"},
		{Name: "userId", Type: "string", Summary: "Only what this user did; user_id is the same"},
		{Name: "user_id", Type: "string", Summary: "The same as userId"},
		{Name: "from", Type: "string", Summary: "Not before this time: RFC 3339, or milliseconds since 1970"},
		{Name: "to", Type: "string", Summary: "Not after this time"},
	}
	rows := []Route{
		{Method: "GET", Path: "/api/models/search", Role: auth.Viewer, Summary: "Search Hugging Face for models", Query: search, Response: []api.V1FoundModel{}, Errors: []api.Code{api.CodeUpstream, api.CodeNotImplemented}, Successor: "/api/v2/hub/models", Handle: s.v1Search},
		{Method: "GET", Path: observe + "/metrics", Role: auth.Viewer, Summary: "The same as /api/metrics", Media: "text/plain", Successor: "/metrics", Handle: s.metrics},
		{Method: "GET", Path: "/api/engine-stats", Role: auth.Viewer, Summary: "What the engines that run say of themselves now", Response: []api.V1EndpointStats{}, Successor: "/api/v2/endpoints/figures", Handle: s.v1EngineStats},
		{Method: "GET", Path: "/api/audit-logs", Role: auth.Admin, Summary: "The audit log, newest first", Query: audit, Response: api.V1AuditLog{}, Successor: "/api/v2/audit", Handle: s.v1AuditLogs},
	}
	const noTraces = "Nebula keeps no traces of requests; its metrics are at /metrics, and who changed what is at /api/v2/audit"
	const noSeries = "Nebula keeps no series of metrics: have Prometheus read /metrics, and ask it"
	return append(
		rows, notHere(observe+"/traces", auth.Viewer, noTraces, "/api/v2/audit"), notHere(observe+"/traces/{id}", auth.Viewer, noTraces, "/api/v2/audit"),
		notHere(observe+"/metrics/query", auth.Viewer, noSeries, "/metrics"), notHere(observe+"/metrics/names", auth.Viewer, noSeries, "/metrics"),
	)
}

// notHere is a row of something that Nebula does not have, and says what it has.
func notHere(path string, role auth.Role, why, successor string) Route {
	return Route{
		Method: "GET", Path: path, Role: role, Summary: "Not possible: the answer says what is", Response: map[string]any{}, Errors: []api.Code{api.CodeNotImplemented},
		Successor: successor, Handle: func(http.ResponseWriter, *http.Request) error { return api.Errorf(api.CodeNotImplemented, "%s", why) },
	}
}

func (s *server) v1Search(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	limit, err := queryInt(r, "limit", searchFound, 1, 1<<31-1)
	if err != nil {
		return err
	}
	if source, err := api.ParseModelSource(cmp.Or(q.Get("source"), q.Get("provider"))); err == nil && source == api.SourceModelScope {
		return api.Errorf(api.CodeNotImplemented, "ModelScope is not searched from here: use /api/v2/hub/models?source=model_scope, or leave source out to search Hugging Face")
	}
	found, err := s.lookInHub(w, r, api.SourceHuggingFace, min(limit, searchMost))
	if err != nil {
		return err
	}
	out := make([]api.V1FoundModel, 0, len(found))
	for _, f := range found {
		out = append(out, v1Found(f))
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func v1Found(f api.HubModel) api.V1FoundModel {
	_, name, ok := strings.Cut(f.ID, "/")
	if !ok {
		name = f.ID
	}
	m := api.V1FoundModel{ID: f.ID, Name: name, Author: f.Author, Tags: append([]string{}, f.Tags...), Source: "huggingface"}
	if f.Downloads != nil {
		m.Downloads = *f.Downloads
	}
	if f.Likes != nil {
		m.Likes = *f.Likes
	}
	if f.Task != "" {
		m.PipelineTag = &f.Task
	}
	return m
}

func (s *server) v1EngineStats(w http.ResponseWriter, r *http.Request) error {
	out := []api.V1EndpointStats{}
	if s.Figures != nil {
		for _, f := range s.Figures(r.Context()).Replicas {
			if f.Failure == "" {
				out = append(out, v1Stats(&f))
			}
		}
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// Limits of a page of the audit log in version 1.
const (
	v1AuditPage = 50
	v1AuditMost = 200
	v1AuditLook = 10_000 // entries that a filter lets through, at most
)

func (s *server) v1AuditLogs(w http.ResponseWriter, r *http.Request) error {
	page, err := queryInt(r, "page", 1, 1, 1<<31-1)
	if err != nil {
		return err
	}
	limit, err := queryInt(r, "limit", v1AuditPage, 1, 1<<31-1)
	if err != nil {
		return err
	}
	limit = min(limit, v1AuditMost)
	v := r.URL.Query()
	q := control.AuditQuery{Actor: v.Get("userId")}
	if q.Actor == "" {
		q.Actor = v.Get("user_id")
	}
	if q.From, err = queryTime(v.Get("from"), "from"); err != nil {
		return err
	}
	if q.To, err = queryTime(v.Get("to"), "to"); err != nil {
		return err
	}
	recs, total, err := s.v1AuditPage(r.Context(), q, page, limit)
	if err != nil {
		return err
	}
	out := api.V1AuditLog{Meta: api.V1AuditMeta{Page: page, Limit: limit, TotalItems: total, TotalPages: (total + limit - 1) / limit}}
	for i := range recs {
		out.Data = append(out.Data, v1AuditEntry(&recs[i]))
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// v1AuditPage reads a page by its number, and how many records there are. Without a filter the number of the page says which records are on it; with
// one, all that come before are looked through.
func (s *server) v1AuditPage(ctx context.Context, q control.AuditQuery, page, limit int) (recs []api.AuditRecord, total int, err error) {
	skip := uint64(page-1) * uint64(limit)
	if q == (control.AuditQuery{}) {
		head, err := s.Control.AuditHead()
		if err != nil {
			return nil, 0, err
		}
		first := uint64(0)
		if head.Anchor != nil {
			first = head.Anchor.Seq
		}
		total := head.Seq - min(first, head.Seq)
		if skip >= total {
			return nil, int(total), nil
		}
		q.Limit, q.Before = limit, head.Seq-skip+1
		for q.Before > 0 && len(recs) < limit {
			part, next, err := s.Control.Audit(ctx, q)
			if err != nil {
				return nil, 0, err
			}
			recs, q.Before, q.Limit = append(recs, part...), next, limit-len(recs)-len(part)
		}
		return recs, int(total), nil
	}
	q.Limit = maxPage
	var all []api.AuditRecord
	for {
		part, next, err := s.Control.Audit(ctx, q)
		if err != nil {
			return nil, 0, err
		}
		if all = append(all, part...); next == 0 || len(all) >= v1AuditLook {
			break
		}
		q.Before = next
	}
	from := min(skip, uint64(len(all)))
	return all[from:min(from+uint64(limit), uint64(len(all)))], len(all), nil
}

// v1AuditEntry is a record of the audit log in the shape of a trace.
func v1AuditEntry(rec *api.AuditRecord) api.V1AuditEntry {
	meta := map[string]string{}
	for k, v := range map[string]string{
		"object": rec.Object, "source": rec.Source, "role": rec.Actor.Role, "kind": rec.Actor.Kind, "key_id": rec.Actor.KeyID, "code": string(rec.Code),
		"request_id": rec.RequestID,
	} {
		if v != "" {
			meta[k] = v
		}
	}
	return api.V1AuditEntry{
		ID: strconv.FormatUint(rec.Seq, 10), Timestamp: time.UnixMilli(rec.TimeMS).UTC().Format("2006-01-02T15:04:05.000Z07:00"), Name: rec.Verb,
		UserID: rec.Actor.ID, Tags: []string{"audit", rec.Result}, Metadata: meta, Output: rec.Result,
	}
}
