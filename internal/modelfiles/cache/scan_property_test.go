package cache

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// obvious lists the plain models of a root the slow way: NAME or ORG/NAME with weights at its top.
func obvious(t *rapid.T, root string) []string {
	var out []string
	isModel := func(dir string) bool {
		all, _ := os.ReadDir(dir)
		return slices.ContainsFunc(all, func(e fs.DirEntry) bool { return !e.IsDir() && strings.HasSuffix(e.Name(), ".gguf") })
	}
	tell := func(name string) {
		dir := filepath.Join(root, name)
		var seen []fs.FileInfo
		loading := false
		var files, bytes int
		var listed []manifest.Entry
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			loading = loading || partial(e.Name())
			fi, err := os.Stat(path)
			if err != nil || !fi.Mode().IsRegular() {
				return nil
			}
			files++
			if !slices.ContainsFunc(seen, func(other fs.FileInfo) bool { return os.SameFile(fi, other) }) {
				bytes += int(fi.Size())
			}
			seen = append(seen, fi)
			rel, err := filepath.Rel(dir, path)
			listed = append(listed, manifest.Entry{Path: rel, Size: fi.Size()})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		models := manifest.Candidates(listed)
		whole := len(models) > 0 && !loading && !slices.ContainsFunc(models, func(m manifest.Entry) bool {
			_, err := manifest.Parts(manifest.ByPath(listed), m)
			return err != nil
		})
		if files > 0 {
			out = append(out, fmt.Sprintf("%s %d %d %t", name, files, bytes, whole))
		}
	}
	tops, _ := os.ReadDir(root)
	for _, top := range tops {
		switch {
		case !top.IsDir():
		case isModel(filepath.Join(root, top.Name())):
			tell(top.Name())
		default:
			subs, _ := os.ReadDir(filepath.Join(root, top.Name()))
			for _, sub := range subs {
				if name := top.Name() + "/" + sub.Name(); sub.IsDir() && isModel(filepath.Join(root, name)) {
					tell(name)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// TestScan_property: whatever is made, linked, moved and deleted, a scanner that remembers sees what a new one sees, and both see what an obvious walk
// sees.
func TestScan_property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		root, err := os.MkdirTemp("", "scan-property")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(root)
		s := NewScanner(ScanConfig{})
		clock := time.UnixMilli(1_600_000_000_000)
		tick := func(paths ...string) { // changes are a second apart, and long ago
			clock = clock.Add(time.Second)
			for _, p := range paths {
				for ; strings.HasPrefix(p, root); p = filepath.Dir(p) {
					if fi, err := os.Lstat(p); err == nil && fi.Mode()&fs.ModeSymlink == 0 {
						if err := os.Chtimes(p, clock, clock); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
		dir := rapid.SampledFrom([]string{"a", "b", "a/x", "a/y", "b/x", "a/x/deep"})
		file := rapid.SampledFrom([]string{"m.gguf", "n-00001-of-00002.gguf", "n-00002-of-00002.gguf", "readme.md", "m.gguf.part"})
		path := func(label string) string {
			return filepath.Join(root, dir.Draw(t, label+" folder"), file.Draw(t, label+" file"))
		}
		for range rapid.IntRange(1, 12).Draw(t, "rounds") {
			for range rapid.IntRange(1, 3).Draw(t, "changes") {
				at, other := path("at"), path("other")
				switch rapid.SampledFrom([]string{"make", "make", "link", "second name", "move", "delete", "delete folder"}).Draw(t, "change") {
				case "make":
					_ = os.MkdirAll(filepath.Dir(at), 0o755)
					_ = os.Remove(at)
					_ = os.WriteFile(at, make([]byte, rapid.IntRange(1, 9).Draw(t, "size")), 0o644)
				case "link":
					_ = os.MkdirAll(filepath.Dir(at), 0o755)
					if to, err := filepath.Rel(filepath.Dir(at), other); err == nil {
						_ = os.Symlink(to, at)
					}
				case "second name":
					_ = os.Link(other, at)
				case "move":
					_ = os.Rename(other, at)
				case "delete":
					_ = os.Remove(at)
				case "delete folder":
					_ = os.RemoveAll(filepath.Dir(at))
				}
				tick(at, other)
			}
			now := time.Now()
			got, err := s.Scan(t.Context(), []Root{Root(root)}, now, nil)
			if err != nil {
				t.Fatal(err)
			}
			fresh, err := NewScanner(ScanConfig{}).Scan(t.Context(), []Root{Root(root)}, now, nil)
			if err != nil {
				t.Fatal(err)
			}
			var told []string
			wipe := func(all []api.ModelCacheEntry) {
				for i := range all {
					all[i].DiscoveredAtMS, all[i].LastAccessedMS = 0, 0
				}
			}
			wipe(got.Entries)
			wipe(fresh.Entries)
			if d := cmp.Diff(fresh, got); d != "" {
				t.Fatalf("remembered wrongly: %s", d)
			}
			for _, e := range got.Entries {
				told = append(told, fmt.Sprintf("%s %d %d %t", e.ModelName, e.FileCount, e.SizeBytes, e.Complete))
			}
			slices.Sort(told)
			if d := cmp.Diff(obvious(t, root), told); d != "" {
				t.Fatalf("not what an obvious walk sees: %s", d)
			}
		}
	})
}
