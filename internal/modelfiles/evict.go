package modelfiles

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// Eviction says when files are deleted to make room.
type Eviction struct {
	On        bool    // without it only people do, by [Store.Prune]
	High, Low float64 // percent of the disk: where it begins and where it ends
	MinAge    time.Duration
	MaxAge    time.Duration // 0 = however long they are unused
	Foreign   bool          // also what other programs put into the cache
}

// evictEvery is how often the disk is looked at.
const evictEvery = 5 * time.Minute

// wishes are what people want of the files here, as last told. Before both are known nothing is deleted: unknown is not empty.
type wishes struct {
	pins, running, stopped []api.ModelSpec
	toldPins, toldWanted   bool
}

// SetPins tells which models people have pinned here: their files are never deleted.
func (s *Store) SetPins(pins []api.ModelSpec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wishes.pins, s.wishes.toldPins = pins, true
}

// SetWanted tells which models are to run here, or are pulled, whether they are here yet or not.
func (s *Store) SetWanted(running []api.ModelSpec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wishes.running, s.wishes.toldWanted = running, true
}

// SetStopped tells which models are declared and do not run here: their files are the last to be deleted.
func (s *Store) SetStopped(stopped []api.ModelSpec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wishes.stopped = stopped
}

// wished returns what people want, or why that is not known.
func (s *Store) wished() (wishes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.wishes.toldPins || !s.wishes.toldWanted {
		return wishes{}, api.Errorf(api.CodeUnavailable, "this node does not know yet what it is to run and to keep: try again when it has reached a server")
	}
	return s.wishes, nil
}

// Keep deletes files to make room, as [Config.Evict] says, until ctx ends.
func (s *Store) Keep(ctx context.Context) error {
	tick := time.NewTicker(evictEvery)
	defer tick.Stop()
	for {
		if s.cfg.Evict.On {
			s.sweep(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sweep is one look at the disk.
func (s *Store) sweep(ctx context.Context) {
	out, err := s.evict(ctx, s.watermarks(), "", false)
	switch {
	case api.HasCode(err, api.CodeUnavailable) || ctx.Err() != nil: // not told yet: next time
	case err != nil:
		s.cfg.Log.Warn("files not removed to make room", "error", err)
	}
	s.tell(out)
}

func (s *Store) tell(out api.CachePruned) {
	for _, r := range out.Removed {
		s.cfg.Log.Info("files removed", "model", r.ModelName, "commit", r.Commit, "file", r.File, "why", r.Reason, "freed_bytes", r.FreedBytes)
	}
	for _, p := range out.Problems {
		s.cfg.Log.Warn("files not removed", "error", p)
	}
}

// watermarks is the goal of every look at the disk.
func (s *Store) watermarks() cache.Goal {
	e := s.cfg.Evict
	return cache.Goal{From: e.High, To: e.Low, MinAge: e.MinAge, MaxAge: e.MaxAge, Foreign: e.Foreign}
}

// Prune removes what nobody needs here, as people asked, or tells what it would remove. What people ask for explicitly goes without regard to when it
// was used last; nothing goes that is in use, pinned or wanted here.
func (s *Store) Prune(ctx context.Context, req api.CachePrune) (api.CachePruned, error) {
	if err := req.Validate(); err != nil {
		return api.CachePruned{}, err
	}
	goal := s.watermarks()
	switch {
	case req.AllUnused:
		goal = cache.Goal{All: true, Foreign: goal.Foreign}
	case req.ToPercent > 0:
		goal = cache.Goal{To: req.ToPercent, Foreign: goal.Foreign}
	case req.Orphans:
		goal = cache.Goal{}
	}
	out, err := s.evict(ctx, goal, "", req.DryRun)
	if err == nil && !req.DryRun {
		s.tell(out)
	}
	return out, err
}

// Evict removes what one model has in the cache, as people asked, or tells what it would remove; however lately it was used. What is not there needs no
// removal. When all of it is in use, pinned or wanted here, that is a conflict, which says why.
func (s *Store) Evict(ctx context.Context, req api.CacheEvict) (api.CachePruned, error) {
	if err := req.Validate(); err != nil {
		return api.CachePruned{}, err
	}
	goal := cache.Goal{Foreign: s.cfg.Evict.Foreign, Only: cache.Asked{Model: req.ModelName, Path: req.CachePath}}
	out, err := s.evict(ctx, goal, "", req.DryRun)
	if err != nil {
		return out, err
	}
	out.Kept = slices.DeleteFunc(out.Kept, func(k api.KeptFiles) bool { return k.Reason == cache.NotAsked })
	if !req.DryRun {
		s.tell(out)
	}
	if len(out.Removed) == 0 && len(out.Problems) == 0 && len(out.Kept) > 0 {
		return out, api.Errorf(api.CodeConflict, "the files of %.200q stay on this node: they are %s", req.ModelName, out.Kept[0].Reason)
	}
	return out, nil
}

// makeRoom frees so many bytes on the disk of a folder for a download, or nothing when that cannot be had. It does not touch the repository that the
// download goes to.
func (s *Store) makeRoom(ctx context.Context, dir string, bytes int64) bool {
	if !s.cfg.Evict.On || bytes <= 0 {
		return false
	}
	e := s.cfg.Evict
	goal := cache.Goal{Bytes: bytes, MinAge: e.MinAge, Foreign: e.Foreign}
	if plan, err := s.evict(ctx, goal, dir, true); err != nil || plan.ShortBytes > 0 {
		return false
	}
	out, err := s.evict(ctx, goal, dir, false)
	s.tell(out)
	return err == nil && out.FreedBytes > 0
}

// evict decides for each disk, or that of one folder only, and acts unless it is a dry run. One goes on at a time.
func (s *Store) evict(ctx context.Context, goal cache.Goal, dir string, dry bool) (api.CachePruned, error) {
	out := api.CachePruned{NodeID: s.cfg.NodeID, DryRun: dry, Removed: api.List[api.PrunedFiles]{}, Kept: api.List[api.KeptFiles]{}}
	select {
	case s.evicting <- struct{}{}:
		defer func() { <-s.evicting }()
	case <-ctx.Done():
		return out, ctx.Err()
	}
	disks, err := s.disks(dir)
	if err != nil {
		return out, err
	}
	for _, roots := range slices.Sorted(maps.Keys(disks)) {
		sc, err := s.look(ctx, disks[roots])
		if err != nil {
			return out, err
		}
		plan := cache.Evict(sc.Scene, goal, time.Now())
		out.ShortBytes += uint64(plan.Short)
		for i, why := range plan.Kept {
			if why != "" {
				it := sc.Items[i]
				out.Kept = append(out.Kept, api.KeptFiles{ModelName: it.Model, Commit: it.Commit, Reason: why, LastUsedMS: it.Used.UnixMilli()})
			}
		}
		s.carryOut(ctx, sc, plan, &out)
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
	}
	return out, nil
}

// disks groups the roots by the disk that they are on; with a folder, only those of its disk.
func (s *Store) disks(dir string) (map[uint64][]cache.Root, error) {
	s.mu.Lock()
	roots := slices.Sorted(maps.Keys(s.roots))
	s.mu.Unlock()
	only := uint64(0)
	if dir != "" {
		fi, err := os.Stat(dir)
		if err != nil {
			return nil, err
		}
		only = disk.Device(fi)
	}
	out := map[uint64][]cache.Root{}
	for _, r := range roots {
		fi, err := os.Stat(string(r))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if dev := disk.Device(fi); dir == "" || dev == only {
			out[dev] = append(out[dev], r)
		}
	}
	return out, nil
}

// seen is a scene, and where its parts are.
type seen struct {
	cache.Scene
	roots []cache.Root
	of    []cache.Dir // by item
	loose []looseFile
}

type looseFile struct {
	dir  cache.Dir
	name string
}

// look surveys the repositories of one disk.
func (s *Store) look(ctx context.Context, roots []cache.Root) (seen, error) {
	want, err := s.wished()
	if err != nil {
		return seen{}, err
	}
	out := seen{Scene: cache.Scene{Contents: map[string]cache.Content{}}, roots: roots}
	_, used, avail, err := disk.Usage(string(roots[0]))
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return seen{}, disk.Explain(string(roots[0]), "read the free space", err)
	}
	out.Disk = cache.Room{Used: int64(used), Available: int64(avail)}
	for _, r := range roots {
		dirs, err := r.Repositories()
		if err != nil {
			return seen{}, err
		}
		for _, d := range dirs {
			sv, err := d.Surveyed(ctx)
			if err != nil {
				return seen{}, disk.Explain(string(r), "look at "+d.Model(), err)
			}
			out.add(sv, s.claims(want, d))
		}
	}
	return out, nil
}

// add puts a repository into the scene.
func (o *seen) add(sv cache.Survey, claims claims) {
	path := func(name string) string { return filepath.Join(sv.Dir.Blobs(), name) }
	for name, f := range sv.Files {
		held := len(sv.Holders[cache.HeldAll]) > 0
		o.Contents[path(name)] = cache.Content{Bytes: f.Bytes, Inode: f.Inode, Names: f.Names, Busy: f.Busy || held}
	}
	for _, u := range sv.Units() {
		it := cache.Item{
			Model: sv.Dir.Model(), Path: sv.Dir.Path(), Commit: u.Commit, Selection: u.Selection, Used: u.Used, Owner: sv.Owner(u),
			Foreign: u.Selection == "", Broken: u.Selection != "" && u.Broken,
		}
		it.Pinned, it.Need = claims.of(u)
		for _, c := range u.Contents {
			it.Contents = append(it.Contents, path(c))
		}
		o.Items, o.of = append(o.Items, it), append(o.of, sv.Dir)
	}
	loose := sv.Loose()
	for _, name := range slices.Sorted(maps.Keys(loose)) {
		f := sv.Files[name]
		at := f.Changed
		if f.Wrote.After(at) || loose[name] != cache.LooseContent {
			at = f.Wrote // of a part only the last write counts
		}
		o.Loose = append(o.Loose, cache.Loose{
			Name: path(name), Kind: loose[name], At: at, Busy: f.Busy || len(sv.Holders) > 0,
			Model: sv.Dir.Model(), Path: sv.Dir.Path(), Wanted: len(claims.pins) > 0 || len(claims.running) > 0,
		})
		o.loose = append(o.loose, looseFile{sv.Dir, name})
	}
}

// claims are what people want of the models in one repository.
type claims struct{ pins, running, stopped []claim }

type claim struct{ revision, selection string }

// claims finds the wishes that are about a repository.
func (s *Store) claims(w wishes, d cache.Dir) claims {
	of := func(specs []api.ModelSpec) (out []claim) {
		for _, spec := range specs {
			if spec.ModelSource == api.SourceLocal {
				if at, what, ok := cache.At(spec.ModelPath); ok && at == d {
					out = append(out, claim{revision: string(what)})
				}
				continue
			}
			req := Request{Spec: spec}
			if j, err := s.newJob(req, wanted(req)); err == nil && j.dir == d {
				out = append(out, claim{j.revision, cache.Selection(j.want)})
			}
		}
		return out
	}
	return claims{of(w.pins), of(w.running), of(w.stopped)}
}

// of tells what people want of a unit.
func (c claims) of(u cache.Unit) (pinned bool, need cache.Need) {
	about := func(l claim) bool {
		if l.selection == "" { // the path of a local model leads here
			return l.revision == string(cache.HeldCommit(u.Commit)) ||
				slices.ContainsFunc(u.Contents, func(c string) bool { return l.revision == "blob-"+c })
		}
		return l.selection == u.Selection && (l.revision == u.Commit || slices.Contains(u.Revisions, l.revision))
	}
	switch {
	case slices.ContainsFunc(c.running, about):
		need = cache.NeedRunning
	case slices.ContainsFunc(c.stopped, about):
		need = cache.NeedStopped
	}
	return slices.ContainsFunc(c.pins, about), need
}

// carryOut removes what was decided, or only tells it. What cannot be removed does not keep the rest.
func (s *Store) carryOut(ctx context.Context, sc seen, plan cache.Eviction, out *api.CachePruned) {
	m := cache.Remover{Step: s.cfg.step}
	tell := func(p api.PrunedFiles, kept string, err error) {
		switch {
		case err != nil:
			out.Problems = append(out.Problems, fmt.Sprintf("%s: %v", p.ModelName, err))
		case kept != "":
			out.Kept = append(out.Kept, api.KeptFiles{ModelName: p.ModelName, Commit: p.Commit, Reason: kept, LastUsedMS: p.LastUsedMS})
		}
		if p.FreedBytes > 0 || err == nil && kept == "" {
			out.FreedBytes += p.FreedBytes
			out.Removed = append(out.Removed, p)
		}
	}
	if !out.DryRun {
		for _, r := range sc.roots {
			if err := m.EmptyTrash(r); err != nil {
				tell(api.PrunedFiles{ModelName: string(r)}, "", err)
			}
		}
	}
	for _, i := range plan.Loose {
		l := sc.loose[i]
		p := api.PrunedFiles{ModelName: l.dir.Model(), File: l.name, Reason: looseReasons[sc.Loose[i].Kind], FreedBytes: uint64(sc.Contents[sc.Loose[i].Name].Bytes)}
		var err error
		if !out.DryRun && ctx.Err() == nil {
			var freed int64
			freed, err = m.Loose(ctx, l.dir, l.name)
			p.FreedBytes = uint64(freed)
		}
		tell(p, "", err)
	}
	for n, i := range plan.Items {
		if ctx.Err() != nil {
			return
		}
		it := sc.Items[i]
		p := api.PrunedFiles{ModelName: it.Model, Commit: it.Commit, Reason: reason(it), FreedBytes: uint64(plan.Bytes[n]), LastUsedMS: it.Used.UnixMilli()}
		kept := ""
		var err error
		if !out.DryRun {
			var freed int64
			freed, kept, err = m.Unit(ctx, sc.of[i], it.Commit, it.Selection, s.still(it))
			p.FreedBytes = uint64(freed)
		}
		tell(p, kept, err)
	}
}

// looseReasons say why files of no model go.
var looseReasons = map[cache.LooseKind]string{
	cache.LooseContent: "no model has it", cache.LoosePart: "left of a download that nobody goes on with",
	cache.LooseIncomplete: "left of another program's download",
}

func reason(it cache.Item) string {
	switch {
	case it.Broken:
		return "left of an unfinished removal"
	case it.Need == cache.NeedStopped:
		return "its deployment is stopped"
	}
	return "no deployment needs it here"
}

// still asks once more, just before a removal, whether the model may go: it may have been wanted, pinned or used meanwhile.
func (s *Store) still(it cache.Item) func(cache.Survey, cache.Unit) string {
	return func(sv cache.Survey, u cache.Unit) string {
		want, err := s.wished()
		if err != nil {
			return err.Error()
		}
		pinned, need := s.claims(want, sv.Dir).of(u)
		switch {
		case pinned:
			return "pinned"
		case need == cache.NeedRunning:
			return "wanted here by now"
		case u.Used.After(it.Used):
			return "used just now"
		}
		return ""
	}
}

// short is how many bytes a refused reservation lacks.
func short(err error) int64 {
	var s *disk.Short
	if fail.Has(err, fail.DiskSpace) && errors.As(err, &s) {
		return s.Bytes
	}
	return 0
}

// candidates lists what could be deleted, the best first, for alerts to name; nothing while that is not known.
func (s *Store) candidates(ctx context.Context) []disk.Candidate {
	plan, err := s.evict(ctx, cache.Goal{All: true, Foreign: s.cfg.Evict.Foreign}, "", true)
	if err != nil {
		return nil
	}
	var out []disk.Candidate
	for _, r := range plan.Removed {
		if r.Commit != "" {
			out = append(out, disk.Candidate{Model: r.ModelName, Bytes: int64(r.FreedBytes)})
		}
	}
	return out
}
