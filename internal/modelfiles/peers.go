package modelfiles

import (
	"context"
	"net/http"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
	"github.com/nebula-serve/nebula/internal/modelfiles/peer"
)

// Run looks at the disk and speaks to the other nodes of the cluster until ctx ends; without it, and without any, all files come from their hubs.
func (s *Store) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { s.watch(ctx); return nil })
	if s.peers != nil {
		g.Go(func() error { return s.peers.Run(ctx) })
	}
	return g.Wait()
}

// ServeBlob answers another node that asks for a file by its hash.
func (s *Store) ServeBlob(w http.ResponseWriter, r *http.Request, algo, hash string, who api.BlobCaller) {
	if s.peers == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	s.peers.ServeBlob(w, r, algo, hash, who)
}

// shelf is what this node has for the others.
type shelf struct{ *Store }

// Whole opens a complete blob.
func (s shelf) Whole(h manifest.Hash) (*os.File, func(), bool) {
	s.mu.Lock()
	roots := make([]cache.Root, 0, len(s.roots))
	for r := range s.roots {
		roots = append(roots, r)
	}
	s.mu.Unlock()
	for _, r := range roots {
		if f, ok := r.Open(h); ok {
			return f, func() {}, true
		}
	}
	return nil, nil, false
}

// Part opens a blob that is being fetched.
func (s shelf) Part(manifest.Hash) (peer.Part, bool) { return nil, false }
