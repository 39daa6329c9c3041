package modelfiles

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/hub"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
	"github.com/nebula-serve/nebula/internal/modelfiles/transfer"
)

// parallel is how many files one fetch transfers at once.
const parallel = 4

// job is one transfer: these files of this repository into this cache.
type job struct {
	dir      cache.Dir
	client   *hub.Client // with the model's credential, if it has one
	repo     hub.Repo
	name     string // of the repository
	revision string
	want     manifest.Want
	refresh  bool
	token    string // fingerprint of the model's own; empty = the node's is used
}

func (j job) key() string {
	return strings.Join([]string{j.dir.Path(), j.revision, cache.Selection(j.want), fmt.Sprint(j.refresh), j.token}, "\x00")
}

func (s *Store) newJob(req Request, want manifest.Want) (job, error) {
	dir := s.cfg.CacheDir
	if p := strings.TrimSpace(req.Spec.ModelPath); p != "" { // of a hub's model: another cache
		if err := checkRoot(p); err != nil {
			return job{}, err
		}
		dir = p
	}
	j := job{client: s.hub, name: req.Spec.ModelName, revision: req.Spec.Revision, want: want, refresh: req.Refresh}
	if req.Spec.ModelSource == api.SourceModelScope {
		dir, j.client = scopeDir(dir), s.scope
	}
	if req.Token != "" {
		j.client, j.token = j.client.As(req.Token), fingerprint(req.Token)
	}
	if j.revision == "" {
		j.revision = j.client.DefaultRevision()
	}
	if err := j.client.Check(j.name, j.revision); err != nil {
		return job{}, err
	}
	j.dir, j.repo = cache.NewDir(cache.Root(filepath.Clean(dir)), j.name), j.client.Repo(j.name)
	return j, nil
}

// scopeDir is where models of ModelScope are: a name there may mean something else than at the other hub.
func scopeDir(dir string) string { return filepath.Join(dir, "modelscope") }

// fingerprint tells tokens apart without holding them.
func fingerprint(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}

// run brings a model into the cache.
//
// Steps, in order:
//  0. Nothing of the repository is removed from now on.
//  1. By our own record this revision is here: done without a request. Files of it that were changed or deleted are
//     checked or fetched again, at the same commit.
//  2. Revision -> commit. That commit is here: note the revision, done.
//  3. List the commit's files and choose. A chosen file that the hub then does not have: list once more.
//  4. Check the space, fetch and verify every blob, link them, look into them.
//  5. Our record, and last the ref.
func (s *Store) run(ctx context.Context, j job, m *meter) (Model, error) {
	release, err := s.holdRepo(ctx, j) // 0
	if err != nil {
		return Model{}, err
	}
	defer release()
	selection := cache.Selection(j.want)
	if r, ok := j.dir.Find(j.revision, selection); ok && !j.refresh { // 1
		p := j.client.Pin(j.name, j.revision, r.Commit)
		err := s.complete(ctx, j, p, r, m)
		if err == nil {
			j.dir.Used(r, time.Now())
			return j.model(r), nil
		}
		if !outdated(p, err) && !fail.Has(err, fail.NoRevision) {
			return Model{}, err
		}
	}
	if s.cfg.Offline {
		return Model{}, offline()
	}
	p, err := j.repo.Resolve(ctx, j.revision) // 2
	if err != nil {
		return Model{}, err
	}
	r, ok := j.dir.Find(p.Commit, selection)
	if ok && j.dir.Whole(r) {
		r.LedBy(j.revision)
		err = s.complete(ctx, j, p, r, m)
	} else {
		r, err = s.transferTwice(ctx, j, p, m) // 3, 4
	}
	if err != nil {
		return Model{}, err
	}
	return j.model(r), s.publish(ctx, j, r) // 5
}

// transferTwice lists again when the files are not those of the listing: it may have been older than they are.
func (s *Store) transferTwice(ctx context.Context, j job, p hub.Pin, m *meter) (cache.Record, error) {
	r, err := s.transfer(ctx, j, p, m)
	if outdated(p, err) {
		s.cfg.Log.Info("the files are not those of the listing, listing again", "repo", p.Repo, "revision", p.Revision, "error", err)
		if p.Moves {
			if p, err = j.repo.Resolve(ctx, j.revision); err != nil {
				return cache.Record{}, err
			}
		}
		r, err = s.transfer(ctx, j, p, m)
	}
	if fail.Has(err, fail.NoEntry) {
		err = fail.Final(api.FailHub, fail.Inconsistent, "the hub lists files of %s that it does not have: %v. Choose another revision or mirror.", p.Repo, err).Because(err)
	}
	return r, err
}

// outdated tells whether err may come from a listing that is older than the files.
func outdated(p hub.Pin, err error) bool {
	return fail.Has(err, fail.NoEntry) || p.Moves && fail.Has(err, fail.Corrupt)
}

func offline() error {
	return fail.Passing(api.FailHub, fail.Network, "the model is not complete on this node, and Nebula is set to work offline. Allow it to reach the hub, or put the files there yourself and use model_source local.")
}

// transfer chooses the files of a commit and fetches them; on success they are all in place, linked and of sound form.
func (s *Store) transfer(ctx context.Context, j job, p hub.Pin, m *meter) (cache.Record, error) {
	entries, err := j.repo.List(ctx, p)
	if err != nil {
		return cache.Record{}, err
	}
	entries = slices.Clone(entries)
	idx, err := s.readIndex(ctx, j, p, entries, m)
	if err != nil {
		return cache.Record{}, err
	}
	man, err := manifest.Select(entries, j.want, idx)
	if err != nil {
		return cache.Record{}, err
	}
	if man.Files, err = s.settle(ctx, j, p, man.Files, m); err != nil {
		return cache.Record{}, err
	}
	s.cfg.Log.Info("files selected", "repo", p.Repo, "commit", p.Commit, "files", len(man.Files), "bytes", man.Total(), "skipped", len(man.Skipped))
	r := cache.Record{
		Version: cache.RecordVersion, Repo: p.Repo, Revisions: []string{p.Revision}, Commit: p.Commit, Selection: cache.Selection(j.want),
		Format: man.Format, Primary: man.Primary, MMProj: man.MMProj, Files: man.Files, CreatedMS: time.Now().UnixMilli(),
	}
	if err := s.complete(ctx, j, p, r, m); err != nil {
		return cache.Record{}, err
	}
	m.enter(api.PhaseVerifying)
	r.Metadata, err = inspect(j.model(r))
	return r, err
}

// complete brings every file of r in place, verified and linked. What is there already costs a look at its name.
func (s *Store) complete(ctx context.Context, j job, p hub.Pin, r cache.Record, m *meter) error {
	blobs, counts := counters(r.Files)
	if j.dir.Whole(r) {
		for _, c := range counts {
			c.done.Store(true)
		}
		m.plan(counts)
		return nil
	}
	for again := false; ; again = true {
		m.plan(counts)
		if err := s.fetchAll(ctx, j, p, blobs, counts); err != nil {
			return err
		}
		err := s.locked(ctx, j, "link the snapshot", func() error { return j.dir.Link(p.Commit, r.Files) })
		if err != nil || again || j.dir.Whole(r) {
			return err
		}
		blobs, counts = counters(r.Files) // another program has removed files meanwhile
	}
}

// counters returns the distinct blobs of files, and a counter for each.
func counters(files []manifest.Entry) ([]manifest.Entry, []*counter) {
	var blobs []manifest.Entry
	var counts []*counter
	at := map[manifest.Hash]*counter{}
	for _, f := range files {
		c, ok := at[f.Hash]
		if !ok {
			c = &counter{size: f.Size}
			at[f.Hash] = c
			blobs, counts = append(blobs, f), append(counts, c)
		}
		c.files++
	}
	return blobs, counts
}

// How many files and folders a model makes beside its blobs, at most, and with each: itself, its journal, its seal, its lock, and a name in the snapshot.
const (
	filesBeside = 20
	filesEach   = 5
)

// reserve promises the space for blobs, or says by how much it is short.
func (s *Store) reserve(ctx context.Context, d cache.Dir, blobs []manifest.Entry) (*disk.Reservation, error) {
	var need disk.Need
	for _, b := range blobs {
		if fi, err := os.Lstat(d.Blob(b.Hash)); err == nil && fi.Size() == b.Size {
			continue
		}
		need.Bytes += b.Size
		need.Files += filesEach
		if fi, err := os.Lstat(d.Part(b.Hash)); err == nil {
			need.Bytes -= min(disk.Allocated(fi), b.Size)
		}
	}
	if need.Files > 0 {
		need.Files += filesBeside
	}
	if err := os.MkdirAll(d.Root.Hub(), 0o755); err != nil {
		return nil, disk.Explain(string(d.Root), "create folder", err)
	}
	r, err := s.room.Reserve(string(d.Root), need)
	if lacks := short(err); lacks > 0 && s.makeRoom(ctx, string(d.Root), lacks) {
		return s.room.Reserve(string(d.Root), need)
	}
	return r, err
}

// fetchAll fetches blobs, a few at a time. The first failure stops the others, which keep what they have.
func (s *Store) fetchAll(ctx context.Context, j job, p hub.Pin, blobs []manifest.Entry, counts []*counter) error {
	each := func(ctx context.Context, do func(context.Context, *blob) error, space *disk.Reservation) error {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(parallel)
		for i, e := range blobs {
			g.Go(func() error {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return do(ctx, &blob{Entry: e, model: j.name, dir: j.dir, store: s, count: counts[i], space: space, sources: s.sources(j, p, e)})
			})
		}
		return g.Wait()
	}
	if err := each(ctx, func(ctx context.Context, b *blob) error { return b.adoptInPlace(ctx) }, nil); err != nil {
		return err
	}
	space, err := s.reserve(ctx, j.dir, blobs)
	if err != nil {
		return err
	}
	defer space.Release()
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { watchRoom(ctx, space, cancel) })
	defer watching.Wait()
	defer cancel(nil)
	err = each(ctx, func(ctx context.Context, b *blob) error { return b.fetch(ctx) }, space)
	if full, ok := fail.As(context.Cause(ctx)); ok && full.Reason == fail.DiskSpace {
		return full
	}
	return err
}

// roomEvery is how often a download looks whether what it still needs has room: others write to the disk too.
const roomEvery = 5 * time.Second

// watchRoom ends a download whose space others have taken, before the disk is full.
func watchRoom(ctx context.Context, space *disk.Reservation, stop context.CancelCauseFunc) {
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := space.Check(); err != nil {
				stop(err)
				return
			}
		}
	}
}

// sources says where a blob can be had.
func (s *Store) sources(j job, p hub.Pin, e manifest.Entry) func(context.Context) ([]transfer.Source, error) {
	origin := j.repo.Source(p, e)
	return func(context.Context) ([]transfer.Source, error) {
		if s.cfg.Offline {
			return nil, offline()
		}
		return []transfer.Source{origin}, nil
	}
}

// readIndex fetches the small file that names the shards, if the selection needs one, and returns its names.
func (s *Store) readIndex(ctx context.Context, j job, p hub.Pin, entries []manifest.Entry, m *meter) (manifest.Indexes, error) {
	name := manifest.IndexName(entries, j.want)
	if name == "" || manifest.CheckNames(entries) != nil { // manifest.Select will say why
		return nil, nil
	}
	i := slices.IndexFunc(entries, func(e manifest.Entry) bool { return e.Path == name })
	e := entries[i]
	if e.Size > manifest.MaxIndex {
		return nil, fail.Final(api.FailInvalidModel, fail.Inconsistent, "%s is %s long; Nebula reads at most %s", name, fail.Size(e.Size), fail.Size(int64(manifest.MaxIndex)))
	}
	settled, err := s.settle(ctx, j, p, []manifest.Entry{e}, m)
	if err != nil {
		return nil, err
	}
	e, entries[i] = settled[0], settled[0] // it need not be fetched again
	blobs, counts := counters(settled)
	m.also(counts)
	if err := s.fetchAll(ctx, j, p, blobs, counts); err != nil {
		return nil, err
	}
	names, err := cache.ReadWeightMap(j.dir.Blob(e.Hash))
	if err != nil {
		return nil, fail.Final(api.FailInvalidModel, fail.Inconsistent, "%s is not an index of weights. The repository is broken; choose another.", name).Because(err)
	}
	return manifest.Indexes{name: names}, nil
}

// publish makes a complete model known: the record, then the ref.
func (s *Store) publish(ctx context.Context, j job, r cache.Record) error {
	defer s.storage.poke()
	return s.locked(ctx, j, "record the model", func() error {
		if err := j.dir.Put(r); err != nil {
			return err // what Nebula does not know of is not published
		}
		return j.dir.SetRef(j.revision, r.Commit)
	})
}

// locked runs a change of the repository's folder, one at a time on this node.
func (s *Store) locked(ctx context.Context, j job, what string, change func() error) error {
	unlock, err := cache.LockFile(ctx, filepath.Join(j.dir.Root.State("locks"), j.dir.Name+".lock"), func() {})
	if err == nil {
		err = change()
		unlock()
	}
	return disk.Explain(string(j.dir.Root), what, err)
}

// model says where the files of a record are.
func (j job) model(r cache.Record) Model {
	dir := j.dir.Snapshot(r.Commit)
	m := Model{Path: dir, Commit: r.Commit, Format: r.Format, Metadata: r.Metadata}
	blobs, _ := counters(r.Files)
	for _, b := range blobs {
		m.Bytes += uint64(b.Size)
	}
	at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	for _, f := range r.Files {
		m.Files = append(m.Files, at(f.Path))
	}
	if r.Primary != "" {
		m.Path = at(r.Primary)
	}
	if r.MMProj != "" {
		m.MMProj = at(r.MMProj)
	}
	return m
}
