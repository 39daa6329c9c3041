package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
)

// auditRoutes are the rows about the audit log.
func (s *server) auditRoutes() []Route {
	const log = "/api/v2/audit"
	filters := []Param{
		{Name: "actor", Type: "string", Summary: "Only what this one did: a user's name, a machine's id"},
		{Name: "verb", Type: "string", Summary: "Only verbs that begin so: model.create, or model. for all about models"},
		{Name: "object", Type: "string", Summary: "Only objects that begin so: model/qwen, or user/"},
		{Name: "result", Type: "string", Summary: "Only with this result", Enum: []string{api.AuditOK, api.AuditDenied, api.AuditFailed}},
		{Name: "from", Type: "string", Summary: "Not before this time: RFC 3339, or milliseconds since 1970"},
		{Name: "to", Type: "string", Summary: "Not after this time"},
	}
	return []Route{
		{Method: "GET", Path: log, Role: auth.Admin, Summary: "The audit log, newest first; a page may hold fewer than ?limit (100 when absent) although more follow", Query: filters, Response: []api.AuditRecord{}, Has: Pages, Handle: s.listAudit},
		{Method: "GET", Path: log + "/head", Role: auth.Admin, Summary: "The end of the audit log's chain, and where it begins", Response: api.AuditHead{}, Handle: s.auditHead},
		{Method: "GET", Path: log + "/export", Role: auth.Admin, Summary: "The audit log as it is stored, oldest first, a record on each line", Query: []Param{{Name: "from_seq", Type: "integer", Summary: "Number of the first record"}}, Media: "application/x-ndjson", Handle: s.exportAudit},
		{Method: "GET", Path: log + "/{seq}", Role: auth.Admin, Summary: "One record of the audit log", Response: api.AuditRecord{}, Errors: []api.Code{api.CodeNotFound, api.CodeInvalidRequest}, Handle: s.auditRecord},
		{Method: "POST", Path: "/api/v2/admin/audit/repair", Role: auth.Admin, Summary: "Find the end of the audit log anew, when it is damaged or lost", Response: api.AuditHead{}, Errors: []api.Code{api.CodeConflict}, Handle: s.repairAudit},
	}
}

// auditPage is how many records a page holds when the request does not say.
const auditPage = 100

func (s *server) listAudit(w http.ResponseWriter, r *http.Request) error {
	p, err := pageOf(r)
	if err != nil {
		return err
	}
	v := r.URL.Query()
	q := control.AuditQuery{Actor: v.Get("actor"), Verb: v.Get("verb"), Object: v.Get("object"), Result: v.Get("result"), Limit: p.limit}
	if q.Limit == 0 {
		q.Limit = auditPage
	}
	if q.Result != "" && q.Result != api.AuditOK && q.Result != api.AuditDenied && q.Result != api.AuditFailed {
		return api.Errorf(api.CodeInvalidRequest, "result %.40q is unknown: use ok, denied or failed", q.Result)
	}
	if q.From, err = queryTime(v.Get("from"), "from"); err != nil {
		return err
	}
	if q.To, err = queryTime(v.Get("to"), "to"); err != nil {
		return err
	}
	if p.after != "" {
		if q.Before, err = strconv.ParseUint(p.after, 10, 63); err != nil {
			return api.Errorf(api.CodeInvalidRequest, "this cursor is not one of this list: leave it out to start anew")
		}
	}
	recs, next, err := s.Control.Audit(r.Context(), q)
	if err != nil {
		return err
	}
	if next > 0 {
		linkNext(w, r, cursorAfter(r.URL.Path, strconv.FormatUint(next, 10)))
	}
	if recs == nil {
		recs = []api.AuditRecord{}
	}
	writeJSON(w, http.StatusOK, recs)
	return nil
}

// queryTime reads a time as RFC 3339 or as milliseconds since 1970; 0 when it is absent.
func queryTime(text, name string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms > 0 {
		return ms, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.UnixMilli() <= 0 {
		return 0, api.Errorf(api.CodeInvalidRequest, "%s must be a time like 2026-01-31T12:00:00Z, or milliseconds since 1970, not %.40q", name, text)
	}
	return t.UnixMilli(), nil
}

func (s *server) auditHead(w http.ResponseWriter, _ *http.Request) error {
	head, err := s.Control.AuditHead()
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, head)
	return nil
}

func (s *server) auditRecord(w http.ResponseWriter, r *http.Request) error {
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 63)
	if err != nil || seq == 0 {
		return api.Errorf(api.CodeInvalidRequest, "an audit record has a number, such as 1, not %.40q", r.PathValue("seq"))
	}
	line, err := s.Control.AuditRecord(r.Context(), seq)
	if err != nil {
		return err
	}
	if !json.Valid(line) {
		return api.Errorf(api.CodeConflict, "audit record %d cannot be read: it was changed after it was written; nebula audit verify says more", seq)
	}
	writeJSON(w, http.StatusOK, json.RawMessage(line))
	return nil
}

// exportAudit streams. An error after the first byte cuts the connection, so that nobody takes a part for the whole.
func (s *server) exportAudit(w http.ResponseWriter, r *http.Request) error {
	from, err := queryInt(r, "from_seq", 1, 1, 1<<62)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	begun := false
	err = s.Control.ExportAudit(r.Context(), uint64(from), func(line []byte) error {
		begun = true
		// A line is a record whatever somebody has made of it: what is no JSON would break the lines apart.
		_, err := w.Write(append(bytes.ReplaceAll(line, []byte("\n"), []byte(" ")), '\n'))
		return err
	})
	if err == nil || !begun {
		return err
	}
	s.Log.Error("export of the audit log broke off", "request_id", idOf(r), "error", err)
	panic(http.ErrAbortHandler)
}

func (s *server) repairAudit(w http.ResponseWriter, r *http.Request) error {
	head, err := s.Control.RepairAudit(r.Context())
	if err != nil {
		return err
	}
	s.Log.Warn("the end of the audit log was found anew", "seq", head.Seq, "by", caller(r))
	writeJSON(w, http.StatusOK, head)
	return nil
}

// record puts what is no change of the store into the audit log: a login, a backup, the reading of a secret. Its error means that it is not recorded, and
// what was asked for must not be done.
func (s *server) record(r *http.Request, verb, object string) error {
	return s.Control.Record(r.Context(), api.AuditRecord{Verb: verb, Object: object, Result: api.AuditOK})
}

// denied has a refusal recorded: who, from where, and on which route. The path itself may hold anything and is not kept.
func (s *server) denied(r *http.Request, code api.Code) {
	object := r.Pattern
	if object == "" || object == "/" {
		object = "(no route)"
	}
	s.collect(r, api.AuditRecord{Object: object, Code: code})
}

// collect has recorded what a stranger can cause as often as he likes: it is counted, and written a little later.
func (s *server) collect(r *http.Request, rec api.AuditRecord) {
	if s.Denied == nil {
		return
	}
	who := principal(r)
	actor := api.Actor{ID: who.ID, Kind: string(who.Kind), KeyID: who.KeyID}
	if who.Kind != auth.KindAnonymous {
		actor.Role = who.Role.String()
	}
	rec.Actor, rec.Source, rec.RequestID = actor, sourceOf(r), idOf(r)
	s.Denied(rec)
}
