package cache

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// Scan lists the models under roots, sorted by name: the Hugging Face layout, and plain folders beside it. Complete means that Nebula verified every
// file that an engine needs and none has changed; of a plain folder, that all parts are there. A model that two folders hold is told once, the
// complete one first.
func Scan(ctx context.Context, roots []Root) ([]api.ModelCacheEntry, error) {
	found := map[string]api.ModelCacheEntry{}
	for _, r := range roots {
		for _, scan := range []func(context.Context, Root) ([]api.ModelCacheEntry, error){scanHub, scanFolders} {
			entries, err := scan(ctx, r)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				if old, ok := found[e.ModelName]; !ok || e.Complete && !old.Complete {
					found[e.ModelName] = e
				}
			}
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b api.ModelCacheEntry) int { return cmp.Compare(a.ModelName, b.ModelName) }), nil
}

// folders lists a folder's folders; none when it does not exist.
func folders(dir string) ([]string, error) {
	all, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, d := range all {
		if d.IsDir() && !strings.HasPrefix(d.Name(), ".") {
			out = append(out, d.Name())
		}
	}
	return out, err
}

func scanHub(ctx context.Context, r Root) ([]api.ModelCacheEntry, error) {
	names, err := folders(r.Hub())
	if err != nil {
		return nil, err
	}
	var out []api.ModelCacheEntry
	for _, n := range names {
		name, ok := strings.CutPrefix(n, "models--")
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !ok || name == "" {
			continue
		}
		d := Dir{r, name}
		e := api.ModelCacheEntry{ModelName: strings.ReplaceAll(name, "--", "/"), CachePath: d.Path()}
		t := newTally()
		t.add(d.Blobs())
		blobs := t.files
		t.add(filepath.Join(d.Path(), "snapshots")) // links to the blobs, or copies where there are no links
		e.SizeBytes, e.FileCount = t.bytes, t.files-blobs
		e.DiscoveredAtMS, e.LastAccessedMS = t.oldest, t.newest
		for _, rec := range d.Records() {
			e.Complete = e.Complete || d.Whole(rec)
			e.DiscoveredAtMS = min(e.DiscoveredAtMS, rec.CreatedMS)
			if fi, err := os.Stat(d.RecordFile(rec.Commit, rec.Selection)); err == nil {
				e.LastAccessedMS = max(e.LastAccessedMS, fi.ModTime().UnixMilli())
			}
		}
		if e.SizeBytes > 0 || e.FileCount > 0 {
			out = append(out, e)
		}
	}
	return out, nil
}

// scanFolders finds models that people put beside the cache: NAME or OWNER/NAME with weights in it.
func scanFolders(ctx context.Context, r Root) ([]api.ModelCacheEntry, error) {
	tops, err := folders(string(r))
	if err != nil {
		return nil, err
	}
	var out []api.ModelCacheEntry
	for _, top := range tops {
		if top == "hub" || top == "nebula" || top == "modelscope" || strings.Contains(top, "--") {
			continue
		}
		if e, ok := plainModel(ctx, r, top); ok {
			out = append(out, e)
			continue
		}
		subs, err := folders(filepath.Join(string(r), top))
		if err != nil {
			continue // not ours to read
		}
		for _, sub := range subs {
			if e, ok := plainModel(ctx, r, top+"/"+sub); ok {
				out = append(out, e)
			}
		}
	}
	return out, ctx.Err()
}

// plainModel tells whether a folder holds a model at its top.
func plainModel(ctx context.Context, r Root, name string) (api.ModelCacheEntry, bool) {
	dir := filepath.Join(string(r), name)
	entries, err := ListFolder(ctx, dir)
	if err != nil || !slices.ContainsFunc(entries, func(e manifest.Entry) bool {
		return manifest.AtRoot(e) && (manifest.IsGGUF(e.Path) || strings.HasSuffix(e.Path, ".safetensors") || e.Path == manifest.TensorIndex)
	}) {
		return api.ModelCacheEntry{}, false
	}
	t := newTally()
	t.add(dir)
	return api.ModelCacheEntry{
		ModelName: name, CachePath: dir, SizeBytes: t.bytes, FileCount: t.files, Complete: plainComplete(ctx, dir, entries),
		LastAccessedMS: t.newest, DiscoveredAtMS: t.oldest,
	}, true
}

// plainComplete tells whether all parts of a model are there for some engine.
func plainComplete(ctx context.Context, dir string, entries []manifest.Entry) bool {
	for _, e := range entries {
		if strings.HasSuffix(e.Path, ".incomplete") || strings.HasSuffix(e.Path, ".part") || strings.HasSuffix(e.Path, ".aria2") {
			return false
		}
	}
	if _, err := SelectFolder(ctx, dir, manifest.Want{Engine: api.EngineVLLM}); err == nil {
		return true
	}
	models := manifest.Candidates(entries)
	for _, m := range models {
		if _, err := manifest.Parts(manifest.ByPath(entries), m); err != nil {
			return false
		}
	}
	return len(models) > 0
}

// tally adds up files without counting one with two names twice.
type tally struct {
	seen           map[uint64]bool
	bytes          uint64
	files          uint32
	oldest, newest int64 // modification times, Unix milliseconds
}

func newTally() *tally { return &tally{seen: map[uint64]bool{}} }

// add walks a folder. What cannot be read does not count.
func (t *tally) add(dir string) {
	// The walk itself cannot fail: every error inside is passed over.
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		fi, err := os.Stat(name) // links are followed: a dangling one is no file
		if err != nil || !fi.Mode().IsRegular() || strings.HasSuffix(name, ".nebula.journal") {
			return nil
		}
		t.files++
		ms := fi.ModTime().UnixMilli()
		t.newest = max(t.newest, ms)
		if t.oldest == 0 || ms < t.oldest {
			t.oldest = ms
		}
		if n := disk.Inode(fi); n == 0 || !t.seen[n] {
			t.seen[n] = true
			t.bytes += uint64(fi.Size())
		}
		return nil
	})
}
