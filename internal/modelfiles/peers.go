package modelfiles

import (
	"context"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
	"github.com/nebula-serve/nebula/internal/modelfiles/peer"
	"github.com/nebula-serve/nebula/internal/modelfiles/transfer"
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
		if f, d, ok := r.Open(h); ok {
			return f, s.lend(d, h), true
		}
	}
	return nil, nil, false
}

// lendWait is how long a reader waits for a removal that goes on in the repository.
const lendWait = 5 * time.Second

// lend keeps a content while another node reads it, and counts that as a use.
func (s shelf) lend(d cache.Dir, h manifest.Hash) (release func()) {
	ctx, cancel := context.WithTimeout(context.Background(), lendWait)
	defer cancel()
	free, err := d.Hold(ctx, cache.HeldBlob(h), "another node, which reads it")
	if err != nil { // what is open can be read to its end all the same
		s.cfg.Log.Debug("file is lent without a hold", "path", d.Blob(h), "error", err)
		free = func() {}
	}
	return func() {
		free()
		d.Touch(cache.HeldBlob(h), time.Now())
	}
}

// Part opens a blob that is being fetched.
func (s shelf) Part(h manifest.Hash) (peer.Part, bool) {
	t := s.Partial(h)
	if t == nil {
		return nil, false
	}
	f, err := os.OpenFile(t.Part(), os.O_RDONLY|disk.NoFollow, 0)
	if err != nil {
		return nil, true // it is not there yet, or has its final name already
	}
	return part{f, t}, true
}

// part is a partial file, to be read up to the frontier of its transfer.
type part struct {
	*os.File
	*transfer.Blob
}

// Size is the blob's when it is complete.
func (p part) Size() int64 { return p.Entry().Size }

// share lets the other nodes take part in a transfer: as sources, and as readers of what has come. End must be called.
//
// Only a job that has listed the repository itself gets here, with the token of its own model where it needs one: a node gets no file from others
// that its hub would not have given it.
func (b *blob) share(j *transfer.Job) (end func(complete bool)) {
	if b.store.peers == nil || b.Size < api.MinSharedBlob || !b.Known() { // without a hash nobody can tell what the file is
		return func(bool) {}
	}
	shared, hubs := b.store.peers.Begin(b.Entry, b.model), j.Sources
	j.Sources = func(ctx context.Context) ([]transfer.Source, error) {
		origin, err := hubs(ctx)
		if err != nil {
			return nil, err
		}
		return shared.Sources(ctx, origin[0])
	}
	j.Wrong = shared.Wrong
	return shared.End
}
