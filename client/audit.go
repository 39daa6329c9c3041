package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/nebula-serve/nebula/api"
)

// AuditOptions choose records of the audit log. Empty fields choose all.
type AuditOptions struct {
	Actor, Verb, Object, Result string // of Verb and Object the beginning is enough
	From, To                    string // RFC 3339, or milliseconds since 1970
	Limit                       int
	Cursor                      string
}

// Audit returns a page of the audit log, newest first, and the cursor of the next one; empty: there is none.
func (c *Client) Audit(ctx context.Context, o AuditOptions) ([]api.AuditRecord, string, error) {
	q := url.Values{}
	for name, value := range map[string]string{
		"actor": o.Actor, "verb": o.Verb, "object": o.Object, "result": o.Result, "from": o.From, "to": o.To, "cursor": o.Cursor,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	var out []api.AuditRecord
	h, err := c.call(ctx, request{method: http.MethodGet, path: "/api/v2/audit?" + q.Encode()}, &out)
	return out, h.Get("Nebula-Next-Cursor"), err
}

// AuditRecord returns one record.
func (c *Client) AuditRecord(ctx context.Context, seq string) (api.AuditRecord, error) {
	var out api.AuditRecord
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/api/v2/audit/" + url.PathEscape(seq)}, &out)
	return out, err
}

// AuditHead returns the end of the log's chain.
func (c *Client) AuditHead(ctx context.Context) (api.AuditHead, error) {
	var out api.AuditHead
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/api/v2/audit/head"}, &out)
	return out, err
}

// RepairAudit finds the end of the log anew, when it is damaged or lost.
func (c *Client) RepairAudit(ctx context.Context) (api.AuditHead, error) {
	var out api.AuditHead
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/api/v2/admin/audit/repair"}, &out)
	return out, err
}

// MaxAuditLine bounds a line of an export of the audit log, in bytes.
const MaxAuditLine = 1 << 20

// ExportAudit calls fn with each record as it is stored, a line of JSON without its end, oldest first. The line is valid during the call only.
func (c *Client) ExportAudit(ctx context.Context, from uint64, fn func([]byte) error) error {
	res, err := c.Do(ctx, http.MethodGet, "/api/v2/audit/export?from_seq="+strconv.FormatUint(max(from, 1), 10), nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, MaxAuditLine)
	for lines.Scan() {
		if err := fn(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return c.broken(ctx, err)
	}
	return nil
}

// ModelEvents returns what people did with a model, and what Nebula did and why, newest first.
func (c *Client) ModelEvents(ctx context.Context, uid string) ([]api.ModelEvent, error) {
	var out []api.ModelEvent
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/api/v2/models/" + url.PathEscape(uid) + "/events"}, &out)
	return out, err
}

// HistoryEvent is an event of a model's history, in a watch.
type HistoryEvent struct {
	api.ModelEvent
	// Synced says, in place of an event, that all there was has been told.
	Synced bool
	// Revision is where to go on after this event: everything up to it has been told. Events that were written together are told again when the watch
	// ended in the midst of them; their ids tell.
	Revision int64
}

// ErrNotWatched ends a watch of what this server, an older one, does not let anybody watch: ask now and then instead.
var ErrNotWatched = errors.New("this server cannot be watched for that")

// WatchModelEvents yields the events of a model's history that were written after a revision (0: all that are kept), oldest first, and then each new one. It
// ends as [Client.WatchModel] does, and with ErrNotWatched.
func (c *Client) WatchModelEvents(ctx context.Context, uid string, since int64) iter.Seq2[HistoryEvent, error] {
	return func(yield func(HistoryEvent, error) bool) {
		path, err := modelPath(uid, "/events?watch=1")
		if err != nil {
			yield(HistoryEvent{}, err)
			return
		}
		if since > 0 {
			path += "&since=" + strconv.FormatInt(since, 10)
		}
		for e, err := range c.stream(ctx, http.MethodGet, path, nil) {
			var out HistoryEvent
			switch {
			case err != nil:
			case e.Type == "deleted":
				err = api.Errorf(api.CodeNotFound, "the model %q was deleted", uid)
			case e.Type == "synced":
				out.Synced = true
			case e.Type != "event":
				continue
			case json.Unmarshal([]byte(e.Data), &out.ModelEvent) != nil || out.ID == "":
				err = api.Errorf(api.CodeUpstream, "the server at %s sent an event that cannot be read", c.shown)
			}
			if err == nil {
				out.Revision, _ = strconv.ParseInt(e.LastEventID, 10, 64) // 0: from the beginning
			}
			if !yield(out, err) || err != nil {
				return
			}
		}
	}
}
