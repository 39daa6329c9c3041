package httpapi

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
)

// linkRoutes are the rows for the machines that run engines.
func (s *server) linkRoutes() []Route {
	return []Route{
		{Method: "GET", Path: "/api/v2/nodes/{id}/desired", Role: auth.Node, Summary: "What the calling node should run, or watch it", Query: []Param{{Name: "watch", Type: "boolean", Summary: "Stay, and send it anew with each change, as a line of JSON"}}, Response: api.NodeDesired{}, Media: "application/x-ndjson", Handle: s.nodeDesired},
		{Method: "PUT", Path: "/api/v2/nodes/{id}/observed", Role: auth.Node, Summary: "What is true on the calling node", Request: api.NodeObserved{}, Status: 204, Errors: []api.Code{api.CodeConflict}, Has: OwnBody, Handle: s.nodeObserved},
		{Method: "POST", Path: "/api/v2/nodes/{id}/heartbeat", Role: auth.Node, Summary: "Sign of life of the calling node", Request: api.NodeHeartbeat{}, Status: 204, Errors: []api.Code{api.CodeConflict}, Has: OwnBody, Handle: s.nodeHeartbeat},
		{Method: "POST", Path: "/api/v2/nodes/{id}/blobs", Role: auth.Node, Summary: "Who has the large files that the calling node fetches", Request: api.BlobsAsk{}, Response: api.BlobsAnswer{}, Has: OwnBody, Handle: s.nodeBlobs},
	}
}

// Nodes is the server's side of the nodes' links.
type Nodes interface {
	Desired(id string) (api.NodeDesired, <-chan struct{})
	Report(ctx context.Context, id string, o api.NodeObserved) error
	Heartbeat(ctx context.Context, id string, hb api.NodeHeartbeat) error
	Blobs(ctx context.Context, id string, ask api.BlobsAsk) (api.BlobsAnswer, error)
	Secret(id, uid string) (api.Token, error)
}

// Limits of a link. A node takes a stream that is silent for a few of its beats for dead, and goes to another server.
const (
	linkBeat     = time.Second
	linkRead     = 15 * time.Second // for a whole report to arrive
	maxReport    = 8 << 20          // bytes of a report on the wire
	maxUnpacked  = 32 << 20         // bytes of a report that came compressed
	maxHeartbeat = 1 << 10          // bytes
	maxBlobsAsk  = 128 << 10        // bytes, compressed or not
)

// errNoNodes: this process answers people only.
var errNoNodes = &api.Error{Code: api.CodeUnavailable, Message: "this server takes no nodes: use another one of the cluster"}

// nodeDesired answers with what the calling node should run; with ?watch=1 as a stream of lines: one at once, one at each change, and an
// empty one every second, or every third of a heartbeat if that is longer, as a sign of life.
func (s *server) nodeDesired(w http.ResponseWriter, r *http.Request) error {
	if s.Nodes == nil {
		return errNoNodes
	}
	id := r.PathValue("id")
	if !queryBool(r, "watch") {
		d, _ := s.Nodes.Desired(id)
		writeJSON(w, http.StatusOK, d)
		return nil
	}
	ctx, over := s.whileMember(r)
	defer over()
	out := startLines(w)
	defer out.end()
	alive := time.NewTicker(linkBeat)
	defer alive.Stop()
	for {
		d, changed := s.Nodes.Desired(id)
		alive.Reset(lineEvery(d))
		// The stream of a removed node is about to be ended, and what has changed since is not meant for it: it would stop its engines.
		if st, _ := s.View.Current(); ctx.Err() != nil || !isMember(st, machineCert(r)) {
			return nil
		}
		if err := out.send(d); err != nil {
			return nil // the answer has begun; the node sees its end
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return nil
			case <-s.Closing:
				return nil
			case <-changed:
				waiting = false
			case <-alive.C:
				if err := out.write([]byte{'\n'}); err != nil {
					return nil
				}
			}
		}
	}
}

// lineEvery is how often a stream shows a sign of life: in a large fleet, which beats seldom, that is most of what an idle server does.
func lineEvery(d api.NodeDesired) time.Duration {
	return max(linkBeat, time.Duration(d.HeartbeatMS)*time.Millisecond/3)
}

// lines writes newline-delimited JSON to a caller that stays.
type lines struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func startLines(w http.ResponseWriter) *lines {
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return &lines{w, http.NewResponseController(w)}
}

// send writes one line; an error means that the caller has left, or takes nothing any more.
func (l *lines) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a line: %w", err)
	}
	return l.write(append(b, '\n'))
}

func (l *lines) write(b []byte) error {
	_ = l.rc.SetWriteDeadline(time.Now().Add(slowAfter)) // where deadlines are not supported the connection has its own
	if _, err := l.w.Write(b); err != nil {
		return err
	}
	return l.rc.Flush()
}

// end leaves the connection as it was for the caller's next answer.
func (l *lines) end() { _ = l.rc.SetWriteDeadline(time.Time{}) }

// nodeObserved stores what the calling node reports.
func (s *server) nodeObserved(w http.ResponseWriter, r *http.Request) error {
	if s.Nodes == nil {
		return errNoNodes
	}
	var o api.NodeObserved
	if err := decodePacked(w, r, maxReport, maxUnpacked, &o); err != nil {
		return err
	}
	if err := s.Nodes.Report(r.Context(), r.PathValue("id"), o); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// decodePacked reads a machine's JSON object, which may come compressed, into v. Packed and unpacked bound its bytes.
func decodePacked(w http.ResponseWriter, r *http.Request, packed, unpacked int64, v any) error {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(linkRead)) // where deadlines are not supported the connection has its own
	r.Body = http.MaxBytesReader(w, r.Body, packed)
	switch packing := r.Header.Get("Content-Encoding"); strings.ToLower(packing) {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return api.Errorf(api.CodeInvalidRequest, "the body is not gzip, as its Content-Encoding says")
		}
		r.Body = http.MaxBytesReader(w, z, unpacked)
	default:
		return api.Errorf(api.CodeUnsupportedMedia, "the body may be compressed with gzip, not with %.40q", packing)
	}
	if err := decode(r, v, false); err != nil {
		return err
	}
	_ = rc.SetReadDeadline(time.Time{})
	return nil
}

// nodeBlobs answers the calling node's question about the large files that it fetches.
func (s *server) nodeBlobs(w http.ResponseWriter, r *http.Request) error {
	if s.Nodes == nil {
		return errNoNodes
	}
	var ask api.BlobsAsk
	if err := decodePacked(w, r, maxBlobsAsk, maxBlobsAsk, &ask); err != nil {
		return err
	}
	answer, err := s.Nodes.Blobs(r.Context(), r.PathValue("id"), ask)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// nodeHeartbeat takes the calling node's sign of life.
func (s *server) nodeHeartbeat(w http.ResponseWriter, r *http.Request) error {
	if s.Nodes == nil {
		return errNoNodes
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxHeartbeat)
	var hb api.NodeHeartbeat
	if err := decode(r, &hb, false); err != nil {
		return err
	}
	if err := s.Nodes.Heartbeat(r.Context(), r.PathValue("id"), hb); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
