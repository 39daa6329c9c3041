package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// nodeFiles are the files of the node in this process, for its servers.
type nodeFiles struct{ files *modelfiles.Store }

func (n nodeFiles) prune(ctx context.Context, req api.CachePrune) (api.CachePruned, error) {
	out, err := n.files.Prune(ctx, req)
	return out, told(err)
}

func (n nodeFiles) evict(ctx context.Context, req api.CacheEvict) (api.CachePruned, error) {
	out, err := n.files.Evict(ctx, req)
	return out, told(err)
}

func (n nodeFiles) verify(ctx context.Context, req api.CacheVerify, tell func(api.VerifyEvent) error) error {
	return told(n.files.Verify(ctx, req.ModelName, tell))
}

// told makes what modelfiles says to people an error of the API.
func told(err error) error {
	if e, ok := fail.As(err); ok {
		return api.Errorf(api.CodeUnavailable, "%s", e.Message)
	}
	return err
}

// PruneCache has a node remove what it does not need.
func (s *server) PruneCache(ctx context.Context, node string, req api.CachePrune) (api.CachePruned, error) {
	if node == s.localNode && s.files != nil {
		return nodeFiles{s.files}.prune(ctx, req)
	}
	return s.changeCache(ctx, node, "/cache/prune", req)
}

// EvictCache has a node remove one model's files.
func (s *server) EvictCache(ctx context.Context, node string, req api.CacheEvict) (api.CachePruned, error) {
	if node == s.localNode && s.files != nil {
		return nodeFiles{s.files}.evict(ctx, req)
	}
	return s.changeCache(ctx, node, "/cache/evict", req)
}

func (s *server) changeCache(ctx context.Context, node, path string, req any) (out api.CachePruned, err error) {
	body, err := s.askNode(ctx, node, path, req)
	if err != nil {
		return out, err
	}
	defer func() { _ = body.Close() }()
	if err := json.NewDecoder(body).Decode(&out); err != nil {
		return out, brokenOff(ctx, node, err)
	}
	return out, nil
}

// VerifyCache has a node read its files, and tells what it tells.
func (s *server) VerifyCache(ctx context.Context, node string, req api.CacheVerify, tell func(api.VerifyEvent) error) error {
	if node == s.localNode && s.files != nil {
		return nodeFiles{s.files}.verify(ctx, req, tell)
	}
	body, err := s.askNode(ctx, node, "/cache/verify", req)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	for lines := json.NewDecoder(body); ; {
		var e api.VerifyEvent
		if err := lines.Decode(&e); err != nil {
			return brokenOff(ctx, node, err)
		}
		if err := tell(e); err != nil {
			return err
		}
		if e.Type == api.VerifyEnd || e.Type == api.VerifyFailed {
			return nil
		}
	}
}

func brokenOff(ctx context.Context, node string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return api.Errorf(api.CodeUnavailable, "the answer of node %s broke off (%v): try again", node, err)
}

// askNode asks a node on its own port and returns its answer, which may take its time.
func (s *server) askNode(ctx context.Context, node, path string, req any) (io.ReadCloser, error) {
	st, _ := s.store.Current()
	n, ok := st.Nodes.Value(node)
	switch {
	case !ok:
		return nil, api.Errorf(api.CodeUnavailable, "node %s does not report now: try again when it is back", node)
	case n.APIAddr == "" || s.cred == nil:
		return nil, api.Errorf(api.CodeUnavailable, "node %s has told no address at which servers reach it: start it with --node-listen, or ask on its own machine", node)
	}
	b, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "https", Host: n.APIAddr, Path: path}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	t := &http.Transport{
		DialContext:     (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSClientConfig: s.cred.ClientTLS(s.keys.clock, api.MachineNode, node), TLSHandshakeTimeout: 5 * time.Second,
		DisableKeepAlives: true, DisableCompression: true, // no limit for the answer: it may delete terabytes
	}
	res, err := t.RoundTrip(r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, api.Errorf(api.CodeUnavailable, "node %s cannot be reached at %s: %v", node, n.APIAddr, err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer func() { _ = res.Body.Close() }()
	var e api.Envelope
	if err := json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&e); err != nil || e.Error.Message == "" {
		return nil, errors.Join(api.Errorf(api.CodeUpstream, "node %s answered with status %d", node, res.StatusCode), err)
	}
	return nil, &e.Error
}
