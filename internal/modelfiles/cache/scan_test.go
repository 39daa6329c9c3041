package cache

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// plant makes a tree from text: "path" (10 bytes), "path = content", "path -> target", "path == other" (a second name), "path/" (a folder).
func plant(t testing.TB, root, text string) {
	t.Helper()
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		line = strings.TrimSpace(line)
		name, to, link := strings.Cut(line, " -> ")
		name, other, hard := strings.Cut(name, " == ")
		name, content, given := strings.Cut(name, " = ")
		if !given {
			content = strings.Repeat("x", 10)
		}
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case link:
			err = os.Symlink(to, path)
		case hard:
			err = os.Link(filepath.Join(root, other), path)
		default:
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// old is long enough ago.
var old = time.UnixMilli(1_700_000_000_000)

// age makes everything under root old, so that nothing has to be looked at again.
func age(t testing.TB, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Type() == os.ModeSymlink {
			return err
		}
		return os.Chtimes(path, old, old)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func lines(root string, m Models) string {
	var b strings.Builder
	for _, e := range m.Entries {
		state := "partial"
		if e.Complete {
			state = "complete"
		}
		rel, _ := filepath.Rel(root, e.CachePath)
		fmt.Fprintf(&b, "%s: %s, %d files, %d bytes, in %s\n", e.ModelName, state, e.FileCount, e.SizeBytes, rel)
	}
	return strings.TrimSpace(b.String())
}

func mustScan(t testing.TB, s *Scanner, root string, now time.Time, changed ...string) Models {
	t.Helper()
	set := map[string]bool{}
	for _, c := range changed {
		set[c] = true
	}
	m, err := s.Scan(t.Context(), []Root{Root(root), Root(filepath.Join(root, "modelscope"))}, now, set)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const index = ` = {"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}`

// TestScan_layouts: golden trees of all programs whose caches are known.
func TestScan_layouts(t *testing.T) {
	blob := strings.Repeat("a", 64)
	for _, c := range []struct{ name, tree, want string }{
		{
			"the Hub's client: nobody can tell whether it is complete", `
			hub/models--org--name/blobs/` + blob + `
			hub/models--org--name/refs/main
			hub/models--org--name/snapshots/c0/config.json -> ../../blobs/` + blob + `
			hub/models--org--name/snapshots/c0/broken -> ../../blobs/gone
			hub/models--gpt2/blobs/` + blob + `.1234abcd.incomplete
			hub/datasets--org--set/blobs/x
			hub/.locks/models--org--name/x.lock`,
			"gpt2: partial, 0 files, 10 bytes, in hub/models--gpt2\norg/name: partial, 1 files, 10 bytes, in hub/models--org--name",
		},
		{
			"the Hub's client where there are no links", `
			hub/models--org--name/snapshots/c0/config.json
			hub/models--org--name/snapshots/c0/a.safetensors`,
			"org/name: partial, 2 files, 20 bytes, in hub/models--org--name",
		},
		{
			"the system before", `
			.cache/huggingface/hub/models--org--name/blobs/x
			.cache/modelscope/hub/org/other/a.gguf`,
			"org/name: partial, 0 files, 10 bytes, in .cache/huggingface/hub/models--org--name\norg/other: complete, 1 files, 10 bytes, in .cache/modelscope/hub/org/other",
		},
		{
			"ModelScope until 1.20", `
			hub/Qwen/Qwen2___5-7B/config.json
			hub/Qwen/Qwen2___5-7B/a.safetensors
			hub/Qwen/Qwen2___5-7B/.msc
			hub/Qwen/Qwen2.5-7B -> Qwen2___5-7B
			hub/._____temp/Qwen/other/a.safetensors`,
			"Qwen/Qwen2.5-7B: complete, 3 files, 30 bytes, in hub/Qwen/Qwen2___5-7B",
		},
		{
			"ModelScope until 1.20 with MODELSCOPE_CACHE", `
			Qwen/Qwen2___5-7B/config.json
			Qwen/Qwen2___5-7B/a.safetensors
			Qwen/Qwen2___5-7B/.mv = Revision:master,CreatedAt:1
			Qwen/Qwen2.5-7B -> Qwen2___5-7B`,
			"Qwen/Qwen2.5-7B: complete, 3 files, 47 bytes, in Qwen/Qwen2___5-7B",
		},
		{
			"ModelScope until 1.37, loading", `
			hub/models/Qwen/Qwen3-8B/config.json
			hub/models/Qwen/Qwen3-8B/a.safetensors
			hub/models/._____temp/Qwen/Qwen3-8B/b.safetensors
			models/Qwen/Qwen3-0___6B/config.json
			models/Qwen/Qwen3-0___6B/.mdl
			models/Qwen/Qwen3-0___6B/._____temp/a.safetensors`,
			"Qwen/Qwen3-0.6B: partial, 3 files, 30 bytes, in models/Qwen/Qwen3-0___6B\nQwen/Qwen3-8B: partial, 2 files, 20 bytes, in hub/models/Qwen/Qwen3-8B",
		},
		{
			"ModelScope until 1.37 with MODELSCOPE_CACHE", `
			modelscope/models/Qwen/Qwen3-8B/config.json
			modelscope/models/Qwen/Qwen3-8B/a.safetensors`,
			"Qwen/Qwen3-8B: complete, 2 files, 20 bytes, in modelscope/models/Qwen/Qwen3-8B",
		},
		{
			"ModelScope 2.0", `
			models/Qwen--Qwen3-8B/snapshots/master/config.json
			models/Qwen--Qwen3-8B/snapshots/master/a.safetensors
			models/Qwen--Half/snapshots/master/config.json
			models/Qwen--Half/snapshots/master/a.safetensors.incomplete`,
			"Qwen/Half: partial, 2 files, 20 bytes, in models/Qwen--Half\nQwen/Qwen3-8B: complete, 2 files, 20 bytes, in models/Qwen--Qwen3-8B",
		},
		{
			"plain folders", `
			mine/config.json
			mine/m.safetensors
			mine/same.safetensors == mine/m.safetensors
			org/gguf/a-00001-of-00002.gguf
			org/gguf/a-00002-of-00002.gguf
			org/half/a-00001-of-00002.gguf
			org/readme.md
			notes/config.json`,
			"mine: complete, 3 files, 20 bytes, in mine\norg/gguf: complete, 2 files, 20 bytes, in org/gguf\norg/half: partial, 1 files, 10 bytes, in org/half",
		},
		{
			"a config.json alone is no model, and beside weights not all of one", `
			a/config.json
			b/config.json
			b/model.safetensors.index.json` + index + `
			b/m-1.safetensors
			c/config.json
			c/model.safetensors.index.json` + index + `
			c/m-1.safetensors
			c/m-2.safetensors
			d/model.safetensors`,
			"b: partial, 3 files, 80 bytes, in b\nc: complete, 4 files, 90 bytes, in c\nd: partial, 1 files, 10 bytes, in d",
		},
		{
			"downloads of any program that go on", `
			a/m.gguf
			a/m.gguf.aria2
			b/m.gguf
			b/n.gguf.part
			c/m.gguf
			c/.n.gguf.Xy12Zz
			d/m.gguf
			d/.cache/huggingface/download/x.abc.incomplete
			e/m.gguf
			e/n.gguf.downloadInProgress`,
			"a: partial, 2 files, 20 bytes, in a\nb: partial, 2 files, 20 bytes, in b\nc: partial, 2 files, 20 bytes, in c\nd: partial, 2 files, 20 bytes, in d\ne: partial, 2 files, 20 bytes, in e",
		},
		{"names that are none of a model's", "hub/models--a--b--c/blobs/x\nhub/models--..--x/blobs/x\nhub/models--a\x07b/blobs/x\nhub/models--/blobs/x\nhub/models---a/blobs/x\n" +
			"new\x1bline/m.gguf\nbad\xff/m.gguf\nback\\slash/m.gguf\na b/m.gguf", "a b: complete, 1 files, 10 bytes, in a b"},
		{
			"loops and links that lead away", `
			loop/m.gguf
			loop/self -> .
			loop/up -> ..
			loop/round -> round
			loop/away.gguf -> /etc/hostname-that-is-not-there
			loop/dev -> /dev/zero
			top -> .`,
			"loop: complete, 1 files, 10 bytes, in loop",
		},
		{
			"a link to weights elsewhere counts with them", `
			.store/w
			linked/m.gguf -> ../.store/w`,
			"linked: complete, 1 files, 10 bytes, in linked",
		},
		{
			"a model in two places is told once, the complete one", `
			hub/models--org--m/blobs/x
			org/m/m.gguf`,
			"org/m: complete, 1 files, 10 bytes, in org/m",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			plant(t, root, c.tree)
			s := NewScanner(ScanConfig{})
			if got := lines(root, mustScan(t, s, root, time.Now())); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// ours makes a model as Nebula publishes one.
func ours(t testing.TB, root, repo string, files ...string) Dir {
	t.Helper()
	d := NewDir(Root(root), repo)
	r := Record{Version: RecordVersion, Repo: repo, Revisions: []string{"main"}, Commit: strings.Repeat("c", 40), Selection: "gguf-1", CreatedMS: 1000}
	for i, f := range files {
		e := manifest.Entry{Path: f, Size: 10, Hash: manifest.Hash{Algo: manifest.SHA256, Hex: fmt.Sprintf("%064x", i+1)}}
		plant(t, root, "hub/models--"+d.Name+"/blobs/"+e.Hex)
		if err := os.Chtimes(d.Blob(e.Hash), old, old); err != nil {
			t.Fatal(err)
		}
		if err := d.SetSeal(e.Hash); err != nil {
			t.Fatal(err)
		}
		r.Files = append(r.Files, e)
	}
	if err := d.Link(r.Commit, r.Files); err != nil {
		t.Fatal(err)
	}
	if err := d.Put(r); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestScan_ours: a model that Nebula fetched is complete as long as every file is what was verified.
func TestScan_ours(t *testing.T) {
	now := time.Now()
	for name, damage := range map[string]string{
		"a blob is gone": "blobs/" + fmt.Sprintf("%064x", 2), "a name is gone": "snapshots/" + strings.Repeat("c", 40) + "/b.gguf",
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			d := ours(t, root, "org/m", "a.gguf", "b.gguf")
			s := NewScanner(ScanConfig{NodeID: "n"})
			m := mustScan(t, s, root, now)
			if e := m.Entries[0]; !e.Complete || e.SizeBytes != 20 || e.FileCount != 2 || e.DiscoveredAtMS != 1000 || e.NodeID != "n" || m.Bytes != 20 {
				t.Fatalf("%+v", e)
			}
			if err := os.Remove(filepath.Join(d.Path(), damage)); err != nil {
				t.Fatal(err)
			}
			if e := mustScan(t, s, root, now.Add(time.Minute)).Entries[0]; e.Complete {
				t.Errorf("still complete: %+v", e)
			}
		})
	}
	root := t.TempDir()
	d := ours(t, root, "org/m", "a.gguf")
	s := NewScanner(ScanConfig{})
	used := time.UnixMilli(5_000_000_000_000)
	mustScan(t, s, root, now)
	r, _ := d.Find("main", "gguf-1")
	d.Used(r, used)
	if e := mustScan(t, s, root, now).Entries[0]; e.LastAccessedMS != used.UnixMilli() {
		t.Errorf("last used at %d, want our own note of %d", e.LastAccessedMS, used.UnixMilli())
	}
}

// TestScan_unchanged: a tree in which nothing changed is not read again, and gives the same documents, also after a restart.
func TestScan_unchanged(t *testing.T) {
	root := t.TempDir()
	memory := filepath.Join(root, "nebula", "scan", "found.json")
	ours(t, root, "org/m", "a.gguf")
	plant(t, root, "mine/m.gguf\nmodels/Qwen--Qwen3/snapshots/master/a.gguf\nother/x/m.gguf")
	now := time.Now()
	s := NewScanner(ScanConfig{Memory: memory})
	first := mustScan(t, s, root, now)
	age(t, root)
	mustScan(t, s, root, now) // the times changed
	read := s.tree.version
	readAt := map[string]time.Time{}
	for path, f := range s.tree.folders {
		readAt[path] = f.readAt
	}
	second := mustScan(t, s, root, now.Add(time.Minute))
	for path, f := range s.tree.folders {
		if !f.readAt.Equal(readAt[path]) {
			t.Errorf("%s was read again", path)
		}
	}
	if s.tree.version != read || len(first.Entries) != 4 {
		t.Errorf("%d folders changed; %d models", s.tree.version-read, len(first.Entries))
	}
	after := mustScan(t, NewScanner(ScanConfig{Memory: memory}), root, now.Add(time.Hour))
	for _, m := range []Models{second, after} {
		for i := range m.Entries {
			m.Entries[i].LastAccessedMS = first.Entries[i].LastAccessedMS // age() changed the record's
		}
		a, _ := json.Marshal(first)
		b, _ := json.Marshal(m)
		if !bytes.Equal(a, b) {
			t.Errorf("documents differ:\n%s\n%s", a, b)
		}
	}
	if err := os.RemoveAll(filepath.Join(root, "other")); err != nil {
		t.Fatal(err)
	}
	if got := mustScan(t, s, root, now.Add(2*time.Minute)); len(got.Entries) != 3 {
		t.Errorf("a model that is gone stays: %+v", got.Entries)
	}
}

// TestScan_inPlace: a file that is rewritten in place is seen while it is young, when a watch tells of it, and within two hours in any case.
func TestScan_inPlace(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "mine/m.gguf")
	name := filepath.Join(root, "mine", "m.gguf")
	age(t, root)
	now := time.Now()
	s := NewScanner(ScanConfig{})
	mustScan(t, s, root, now)
	rewrite := func(content string, at time.Time) {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(content); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	size := func(at time.Time, changed ...string) uint64 {
		return mustScan(t, s, root, at, changed...).Entries[0].SizeBytes
	}
	rewrite("12", old)
	if got := size(now.Add(time.Minute)); got != 10 {
		t.Errorf("%d bytes: the folder's time cannot have told", got)
	}
	if got := size(now.Add(time.Minute), filepath.Join(root, "mine")); got != 2 {
		t.Errorf("%d bytes after a watch told", got)
	}
	rewrite("123", old)
	if got := size(now.Add(3 * time.Hour)); got != 3 {
		t.Errorf("%d bytes after three hours", got)
	}
	rewrite("1234", now.Add(3*time.Hour)) // and goes on being written
	size(now.Add(3*time.Hour), filepath.Join(root, "mine"))
	rewrite("12345", now.Add(3*time.Hour+time.Second))
	if got := size(now.Add(3*time.Hour + time.Minute)); got != 5 {
		t.Errorf("%d bytes of a file that grows", got)
	}
}

// TestScan_bounds: a folder of more files than any model has ends neither memory nor time, and its model is not complete.
func TestScan_bounds(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "mine/m.gguf\nother/m.gguf")
	for i := range 101 {
		if err := os.Symlink("m.gguf", filepath.Join(root, "mine", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	deep := "deep/m.gguf\ndeep" + strings.Repeat("/d", maxDepth+3) + "/m.gguf"
	plant(t, root, deep)
	s := NewScanner(ScanConfig{})
	s.tree.most = 100
	got := mustScan(t, s, root, time.Now())
	var complete []string
	for _, e := range got.Entries {
		if e.Complete {
			complete = append(complete, e.ModelName)
		}
	}
	if len(got.Entries) < 2 || len(complete) != 1 || complete[0] != "other" {
		t.Errorf("%+v", got.Entries)
	}
}

// TestScan_truncated: weights that are shorter than their header says are a copy that goes on, and are asked for once.
func TestScan_truncated(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "a/m.gguf\nb/m.gguf")
	asked := 0
	s := NewScanner(ScanConfig{Sound: func(path string) bool { asked++; return strings.Contains(path, "/b/") }})
	for range 3 {
		if got := mustScan(t, s, root, time.Now()); got.Entries[0].Complete || !got.Entries[1].Complete {
			t.Errorf("%+v", got.Entries)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times about 2 files", asked)
	}
}

// TestScan_sparse: a partial file counts with what it takes on the disk.
func TestScan_sparse(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "hub/models--org--m/blobs/"+strings.Repeat("a", 64)+".nebula.part")
	name := filepath.Join(root, "hub/models--org--m/blobs/"+strings.Repeat("a", 64)+".nebula.part")
	if err := os.Truncate(name, 1<<30); err != nil {
		t.Fatal(err)
	}
	got := mustScan(t, NewScanner(ScanConfig{}), root, time.Now()).Entries
	if want := uint64(disk.Allocated(info(t, name))); len(got) != 1 || got[0].SizeBytes != want || want > 1<<20 {
		t.Errorf("%+v, want %d bytes", got, want)
	}
}

func info(t testing.TB, name string) os.FileInfo {
	t.Helper()
	fi, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return fi
}

// BenchmarkScan_unchanged is a scan of 10,000 files in which nothing changed, most of them links of the Hub's layout.
func BenchmarkScan_unchanged(b *testing.B) {
	root := b.TempDir()
	for m := range 20 {
		names := make([]string, 250)
		for i := range names {
			names[i] = fmt.Sprintf("part-%03d.gguf", i)
		}
		ours(b, root, fmt.Sprintf("org/m%d", m), names...)
	}
	for m := range 20 {
		for i := range 250 {
			plant(b, root, fmt.Sprintf("plain/m%d/part-%03d.gguf", m, i))
		}
	}
	age(b, root)
	s := NewScanner(ScanConfig{})
	now := time.Now()
	if got := len(mustScan(b, s, root, now).Entries); got != 40 {
		b.Fatal(got)
	}
	var last []api.ModelCacheEntry
	for b.Loop() {
		last = mustScan(b, s, root, now).Entries
	}
	if len(last) != 40 {
		b.Fatal(len(last))
	}
}
