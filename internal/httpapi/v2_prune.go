package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// Caches reaches the caches of nodes, here or elsewhere.
type Caches interface {
	PruneCache(ctx context.Context, node string, req api.CachePrune) (api.CachePruned, error)
	EvictCache(ctx context.Context, node string, req api.CacheEvict) (api.CachePruned, error)
	VerifyCache(ctx context.Context, node string, req api.CacheVerify, tell func(api.VerifyEvent) error) error
}

// pruneCache removes what a node does not need.
func (s *server) pruneCache(w http.ResponseWriter, r *http.Request) error {
	return s.prune(w, r, queryBool(r, "dry_run") || queryBool(r, "validate"))
}

// dryPruneCache tells what pruneCache would remove.
func (s *server) dryPruneCache(w http.ResponseWriter, r *http.Request) error {
	return s.prune(w, r, true)
}

func (s *server) prune(w http.ResponseWriter, r *http.Request, dry bool) error {
	var req api.CachePrune
	if err := decode(r, &req, true); err != nil {
		return err
	}
	req.DryRun = req.DryRun || dry
	if err := req.Validate(); err != nil {
		return err
	}
	node, err := s.cacheNode(r)
	if err != nil {
		return err
	}
	ctx, cancel := s.untilClosing(r)
	defer cancel()
	if !req.DryRun {
		if err := s.record(r, "cache.prune", "node/"+node); err != nil {
			return err
		}
	}
	out, err := s.Caches.PruneCache(ctx, node, req)
	if err != nil {
		return err
	}
	if !req.DryRun {
		s.Log.Info("cache pruned", "node", node, "freed_bytes", out.FreedBytes, "removed", len(out.Removed), "by", caller(r))
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// evictFiles removes one model's files from a node. Why they must stay is told from what the cluster knows, where it does; the node looks again.
func (s *server) evictFiles(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	req := api.CacheEvict{ModelName: q.Get("model"), CachePath: q.Get("path"), DryRun: queryBool(r, "dry_run") || queryBool(r, "validate")}
	if err := req.Validate(); err != nil {
		return err
	}
	st, _ := s.View.Current()
	if why := cluster.FilesNeeded(st, r.PathValue("id"), req.ModelName, req.CachePath); why != "" {
		return api.Errorf(api.CodeConflict, "%s", why)
	}
	node, err := s.cacheNode(r)
	if err != nil {
		return err
	}
	ctx, cancel := s.untilClosing(r)
	defer cancel()
	if !req.DryRun {
		if err := s.record(r, "cache.evict", "node/"+node+"/cache/"+req.ModelName); err != nil {
			return err
		}
	}
	out, err := s.Caches.EvictCache(ctx, node, req)
	if err != nil {
		return err
	}
	if !req.DryRun {
		s.Log.Info("files evicted", "node", node, "model", req.ModelName, "freed_bytes", out.FreedBytes, "removed", len(out.Removed), "by", caller(r))
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// verifyCache has a node read its files, and passes on how it goes: a JSON event on each line.
func (s *server) verifyCache(w http.ResponseWriter, r *http.Request) error {
	var req api.CacheVerify
	if err := decode(r, &req, true); err != nil {
		return err
	}
	node, err := s.cacheNode(r)
	if err != nil {
		return err
	}
	if err := s.record(r, "cache.verify", "node/"+node); err != nil {
		return err
	}
	ctx, cancel := s.untilClosing(r)
	defer cancel()
	rc := http.NewResponseController(w)
	begun := false
	tell := func(e api.VerifyEvent) error {
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "application/x-ndjson")
			w.Header().Set("Cache-Control", "no-store")
		}
		if err := json.NewEncoder(w).Encode(e); err != nil {
			return err
		}
		_ = rc.Flush() // a writer that cannot flush sends at the end
		return nil
	}
	err = s.Caches.VerifyCache(ctx, node, req, tell)
	if err == nil || !begun || r.Context().Err() != nil {
		return err
	}
	e, ok := api.AsError(err)
	if !ok {
		e = api.Errorf(api.CodeUnavailable, "node %s did not end the verification: %s", node, err)
	}
	_ = tell(api.VerifyEvent{Type: api.VerifyFailed, NodeID: node, Error: e}) // the caller may have left
	return nil
}

// cacheNode is the node of the path, if there is one.
func (s *server) cacheNode(r *http.Request) (string, error) {
	st, _ := s.View.Current()
	id := r.PathValue("id")
	if !st.Nodes.Has(id) && !st.Members.Has(api.MemberKey(api.MachineNode, id)) {
		return "", api.Errorf(api.CodeNotFound, "there is no node %s; list them with: nebula node list", strconv.Quote(clip(id)))
	}
	if s.Caches == nil {
		return "", api.Errorf(api.CodeUnavailable, "this process reaches no caches: ask a server")
	}
	return id, nil
}

// untilClosing is the context of a request that may take long: it ends with this process, too.
func (s *server) untilClosing(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	go func() { // ends with the request
		select {
		case <-s.Closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
