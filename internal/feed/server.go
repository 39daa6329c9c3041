package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/store"
)

// Config is what the server's side needs.
type Config struct {
	KV  store.KV // of the server itself
	Log *slog.Logger
	// Closing, when it closes, ends all feeds: the process is about to end, and gateways go to another server.
	Closing <-chan struct{}
	// Caller says which member asks, and the hash of the key it proved to have; nil: by its verified client certificate.
	Caller   func(*http.Request) (*api.Member, error)
	Prefixes []string      // what goes out; nil: Prefixes()
	Most     int           // feeds at the same time; default 128
	Write    time.Duration // how long a caller may take nothing; default 10 s
}

// Handler answers GET /api/v2/feed. Without a query it lists; with after=REVISION it goes on from there until the caller leaves. prefix=
// narrows it. It is to be mounted for the role of gateways, and sees itself when the caller has been removed.
func Handler(cfg Config) http.Handler {
	if cfg.Caller == nil {
		cfg.Caller = byCertificate
	}
	if cfg.Prefixes == nil {
		cfg.Prefixes = Prefixes()
	}
	if cfg.Most <= 0 {
		cfg.Most = 128
	}
	if cfg.Write <= 0 {
		cfg.Write = 10 * time.Second
	}
	return &handler{cfg, make(chan struct{}, cfg.Most)}
}

type handler struct {
	Config
	places chan struct{}
}

// byCertificate reads the caller off its certificate, which the listener has verified.
func byCertificate(r *http.Request) (*api.Member, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil, api.Errorf(api.CodeUnauthorized, "the feed is for gateways, with their certificates")
	}
	leaf := r.TLS.VerifiedChains[0][0]
	who, err := pki.IdentityOf(leaf)
	if err != nil || who.Role != api.MachineGateway {
		return nil, api.Errorf(api.CodeForbidden, "the feed is for gateways")
	}
	return &api.Member{Role: who.Role, ID: who.ID, KeyHash: pki.KeyHash(leaf)}, nil
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, err := h.Caller(r)
	if err != nil {
		refuse(w, err)
		return
	}
	prefix, after, watch, err := query(r)
	if err != nil {
		refuse(w, err)
		return
	}
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	default:
		refuse(w, api.Errorf(api.CodeUnavailable, "this server feeds %d gateways already; try another", cap(h.places)))
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() { // ends with this call
		select {
		case <-h.Closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := h.stillMember(ctx, who); err != nil {
		refuse(w, err)
		return
	}
	out := &writer{w: w, rc: http.NewResponseController(w), limit: h.Write}
	if watch {
		h.watch(ctx, out, who, prefix, after)
	} else {
		h.list(ctx, out, prefix)
	}
}

func query(r *http.Request) (prefix string, after int64, watch bool, err error) {
	q := r.URL.Query()
	prefix = q.Get("prefix")
	if text := q.Get("after"); text != "" {
		if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 0 {
			return "", 0, false, api.Errorf(api.CodeInvalidRequest, "after=%.40q is no revision", text)
		}
		watch = true
	}
	return prefix, after, watch, nil
}

func memberKey(m *api.Member) string { return "/members/" + m.Key() }

// stillMember looks into the store itself, so that it does not hang on how far this server's State is.
func (h *handler) stillMember(ctx context.Context, who *api.Member) error {
	all, _, err := h.KV.List(ctx, memberKey(who))
	if err != nil {
		return api.Errorf(api.CodeUnavailable, "the store does not answer: %s", err)
	}
	for _, kv := range all {
		if kv.Key == memberKey(who) && sameMember(kv.Value, who) {
			return nil
		}
	}
	return api.Errorf(api.CodeForbidden, "the gateway %s is not a member of this cluster (any more)", who.ID)
}

func sameMember(value []byte, who *api.Member) bool {
	var m api.Member
	return json.Unmarshal(value, &m) == nil && m.KeyHash == who.KeyHash
}

// chunk bounds what one line of a list carries, in bytes of values.
const chunk = 256 << 10

func (h *handler) list(ctx context.Context, out *writer, prefix string) {
	all, revision, err := h.KV.List(ctx, prefix)
	if err != nil {
		refuse(out.w, api.Errorf(api.CodeUnavailable, "the store does not answer: %s", err))
		return
	}
	var kvs []keyValue
	size := 0
	for _, kv := range all {
		if !hasPrefix(kv.Key, h.Prefixes) {
			continue
		}
		kvs, size = append(kvs, wire(kv, false)), size+len(kv.Value)
		if size >= chunk {
			if out.line(line{KVs: kvs}) != nil {
				return // the caller has left
			}
			kvs, size = nil, 0
		}
	}
	_ = out.line(line{KVs: kvs, Revision: revision, End: listed}) // the caller may have left
}

var errRemoved = errors.New("the caller has been removed")

// watch sends what happens until the caller leaves. A batch with nothing for it says all the same how far the store is.
func (h *handler) watch(ctx context.Context, out *writer, who *api.Member, prefix string, after int64) {
	if out.begin() != nil {
		return
	}
	member := memberKey(who)
	err := h.KV.Watch(ctx, widest(prefix, member), after, func(b store.Batch) error {
		l := line{Revision: b.Revision}
		for _, ev := range b.Events {
			if ev.Key == member && h.stillMember(ctx, who) != nil { // what counts is now, and the event may be long past
				return errRemoved
			}
			if hasPrefix(ev.Key, []string{prefix}) && hasPrefix(ev.Key, h.Prefixes) {
				l.Events = append(l.Events, wire(ev.KeyValue, ev.Deleted))
			}
		}
		return out.line(l)
	})
	if errors.Is(err, errLeft) {
		return
	}
	last := line{End: unavailable, Message: fmt.Sprint(err)}
	switch {
	case errors.Is(err, store.ErrCompacted):
		last.End = compacted
	case errors.Is(err, errRemoved):
		last.End = removed
		h.Log.Warn("feed of a gateway ended, because it is no member any more", "gateway", who.ID)
	}
	_ = out.line(last) // the caller may have left
}

// widest returns the prefix to watch: what was asked for, and the caller's own membership.
func widest(prefix, member string) string {
	n := 0
	for n < len(prefix) && n < len(member) && prefix[n] == member[n] {
		n++
	}
	return prefix[:n]
}

var errLeft = errors.New("the caller does not read")

// writer sends lines to a caller that must take them within a limit.
type writer struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	limit time.Duration
}

func (o *writer) begin() error {
	o.w.Header().Set("Content-Type", "application/x-ndjson")
	o.w.Header().Set("Cache-Control", "no-store")
	_ = o.rc.SetWriteDeadline(time.Now().Add(o.limit)) // net/http takes it away at the end
	return o.rc.Flush()
}

func (o *writer) line(l line) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_ = o.rc.SetWriteDeadline(time.Now().Add(o.limit))
	if _, err := o.w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("%w: %w", errLeft, err)
	}
	if err := o.rc.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errLeft, err)
	}
	return nil
}

func refuse(w http.ResponseWriter, err error) {
	e, ok := api.AsError(err)
	if !ok {
		e = api.Errorf(api.CodeInternal, "%s", err)
	}
	b, _ := json.Marshal(api.Envelope{Error: *e}) // strings
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Code.HTTPStatus())
	_, _ = w.Write(b) // the caller may have left
}
