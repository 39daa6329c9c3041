package modelfiles

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
	"github.com/nebula-serve/nebula/test/hub"
)

// TestFetch_layout compares what lies on the disk with the layout that every other reader of the cache expects.
func TestFetch_layout(t *testing.T) {
	files := map[string][]byte{
		"config.json":                      []byte(`{"architectures":["LlamaForCausalLM"],"max_position_embeddings":2048}`),
		"model.safetensors.index.json":     []byte(`{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"sub/model-00002-of-00002.safetensors"}}`),
		"model-00001-of-00002.safetensors": tensors(100, 1), "sub/model-00002-of-00002.safetensors": tensors(100, 2),
	}
	extra := map[string][]byte{"model.gguf": ggufFile(100, 3), "README.md": {}, "empty.txt": {}}
	all := maps.Clone(files)
	maps.Copy(all, extra)
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: all})
	h.Break(hub.Faults{PageSize: 2})
	s := newStore(t, h)
	want := maps.Clone(files)
	want["README.md"], want["empty.txt"] = []byte{}, []byte{}
	m := mustFetch(t, s, vllm(), want)

	blob := func(name string) string {
		if strings.HasSuffix(name, ".safetensors") {
			return fmt.Sprintf("%x", sum256(files[name]))
		}
		return hub.GitSHA1(all[name])
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		up := strings.Repeat("../", 2+strings.Count(name, "/"))
		lines = append(lines, fmt.Sprintf("snapshots/%s/%s -> %sblobs/%s", m.Commit, name, up, blob(name)))
		if c := want[name]; name == "empty.txt" {
			continue // the same blob as README.md
		} else if len(c) > 50 {
			lines = append(lines, fmt.Sprintf("blobs/%s (%d bytes)", blob(name), len(c)))
		} else {
			lines = append(lines, fmt.Sprintf("blobs/%s %q", blob(name), c))
		}
	}
	lines = append(lines, fmt.Sprintf("refs/main %q", m.Commit))
	slices.Sort(lines)
	if d := cmp.Diff(strings.Join(lines, "\n")+"\n", tree(t, filepath.Join(s.cfg.CacheDir, "hub", "models--org--model"))); d != "" {
		t.Error(d)
	}
	if want := filepath.Join(s.cfg.CacheDir, "hub/models--org--model/snapshots", m.Commit); m.Path != want {
		t.Errorf("path %s, want %s", m.Path, want)
	}
	if d := cmp.Diff(manifest.Metadata{Architecture: "LlamaForCausalLM", ContextLength: 2048}, m.Metadata); d != "" {
		t.Error(d)
	}
}

// TestFetch_whatTheHubSees: no more requests than needed, the token for the hub only, every answer uncompressed.
func TestFetch_whatTheHubSees(t *testing.T) {
	content := ggufFile(100_000, 1)
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: map[string][]byte{"a-Q4_K_M.gguf": content, "mmproj-f16.gguf": ggufFile(9, 2)}, Private: true, Allow: []string{"secret"}})
	s := newStore(t, h, func(c *Config) { c.Token = " secret\n" })
	m := mustFetch(t, s, llama(), map[string][]byte{"a-Q4_K_M.gguf": content, "mmproj-f16.gguf": ggufFile(9, 2)})
	if filepath.Base(m.Path) != "a-Q4_K_M.gguf" || filepath.Base(m.MMProj) != "mmproj-f16.gguf" {
		t.Errorf("path %s, mmproj %s", m.Path, m.MMProj)
	}
	if m.Metadata.Architecture != "llama" || m.Metadata.ContextLength != 4096 {
		t.Errorf("metadata %+v", m.Metadata)
	}
	var got []string
	for _, r := range h.Requests() {
		onHub := strings.HasSuffix(h.URL, r.Host)
		if onHub && r.Authorization != "Bearer secret" || !onHub && r.Authorization != "" || r.Cookie != "" {
			t.Errorf("%s %s: Authorization %q", r.Host, r.Path, r.Authorization)
		}
		if r.AcceptEncoding != "identity" || r.UserAgent != "nebula-test" {
			t.Errorf("%s: Accept-Encoding %q, User-Agent %q", r.Path, r.AcceptEncoding, r.UserAgent)
		}
		got = append(got, strings.ReplaceAll(r.Path, m.Commit, "COMMIT"))
	}
	slices.Sort(got)
	want := []string{
		"/api/models/org/model/revision/main", "/api/models/org/model/tree/COMMIT",
		"/blob/org/model/COMMIT/a-Q4_K_M.gguf", "/blob/org/model/COMMIT/mmproj-f16.gguf",
		"/org/model/resolve/COMMIT/a-Q4_K_M.gguf", "/org/model/resolve/COMMIT/mmproj-f16.gguf",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestFetch_warmStartAsksNobody(t *testing.T) {
	files := map[string][]byte{"a.gguf": ggufFile(1000, 1)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	s := newStore(t, h)
	first := mustFetch(t, s, llama(), files)
	h.Push(one("a.gguf", ggufFile(1000, 2))) // main moves on; a restart must not
	h.Forget()
	var last Progress
	got, err := again(t, s, func(c *Config) { c.Offline = true }).Fetch(t.Context(), llama(), func(p Progress) { last = p })
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(first, got); d != "" {
		t.Error(d)
	}
	if n := len(h.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
	want := Progress{Phase: api.PhaseComplete, TotalBytes: first.Bytes, DoneBytes: first.Bytes, FilesTotal: 1, FilesDone: 1}
	if d := cmp.Diff(want, last); d != "" {
		t.Error(d)
	}
}

func TestFetch_refreshFollowsTheBranch(t *testing.T) {
	h := hub.Start(t, one("a.gguf", ggufFile(1000, 1)))
	s := newStore(t, h)
	old := mustFetch(t, s, llama(), map[string][]byte{"a.gguf": ggufFile(1000, 1)})
	commit := h.Push(one("a.gguf", ggufFile(1000, 2)))
	req := llama()
	req.Refresh = true
	mustFetch(t, s, req, map[string][]byte{"a.gguf": ggufFile(1000, 2)})
	ref, err := os.ReadFile(filepath.Join(s.cfg.CacheDir, "hub/models--org--model/refs/main"))
	if err != nil || string(ref) != commit {
		t.Errorf("refs/main is %q, want %q (%v)", ref, commit, err)
	}
	h.Forget()
	mustFetch(t, s, llama(), map[string][]byte{"a.gguf": ggufFile(1000, 2)}) // main is the new one from now on
	byCommit := llama()
	byCommit.Spec.Revision = old.Commit
	mustFetch(t, s, byCommit, map[string][]byte{"a.gguf": ggufFile(1000, 1)}) // and the old one is still here
	if n := len(h.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
	mustFetch(t, s, req, map[string][]byte{"a.gguf": ggufFile(1000, 2)})
	if n := len(h.Requests()); n != 1 {
		t.Errorf("%d requests for a refresh without news, want 1", n)
	}
}

// TestFetch_branchGoesBack: a branch that returns to an older commit means that one, although a newer is here.
func TestFetch_branchGoesBack(t *testing.T) {
	old, other := ggufFile(1000, 1), ggufFile(1000, 2)
	h := hub.Start(t)
	s := newStore(t, h)
	req := llama()
	req.Refresh = true
	for _, content := range [][]byte{old, other, old} {
		h.Push(one("a.gguf", content))
		mustFetch(t, s, req, map[string][]byte{"a.gguf": content})
	}
	mustFetch(t, s, llama(), map[string][]byte{"a.gguf": old})
}

func TestFetch_branchWithSlash(t *testing.T) {
	r := one("a.gguf", ggufFile(10, 1))
	r.Revision = "refs/pr/1"
	h := hub.Start(t, r)
	s := newStore(t, h)
	req := llama()
	req.Spec.Revision = "refs/pr/1"
	m := mustFetch(t, s, req, r.Files)
	if ref, err := os.ReadFile(filepath.Join(s.cfg.CacheDir, "hub/models--org--model/refs/refs/pr/1")); string(ref) != m.Commit {
		t.Errorf("ref %q: %v", ref, err)
	}
}

// TestFetch_repairsWhatChanged: a record is believed only while the files look as they did.
func TestFetch_repairsWhatChanged(t *testing.T) {
	files := map[string][]byte{"a.gguf": ggufFile(1000, 1)}
	for name, harm := range map[string]func(t *testing.T, m Model, blob string){
		"bytes changed": func(t *testing.T, _ Model, blob string) { overwrite(t, blob, 500) },
		"touched":       func(t *testing.T, _ Model, blob string) { chtimes(t, blob) },
		"blob deleted":  func(t *testing.T, _ Model, blob string) { deleteFile(t, blob) },
		"link deleted":  func(t *testing.T, m Model, _ string) { deleteFile(t, m.Path) },
	} {
		t.Run(name, func(t *testing.T) {
			h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
			s := newStore(t, h)
			m := mustFetch(t, s, llama(), files)
			blob, err := filepath.EvalSymlinks(m.Path)
			if err != nil {
				t.Fatal(err)
			}
			harm(t, m, blob)
			h.Push(one("a.gguf", ggufFile(1000, 2))) // repaired at its own commit, whatever main is now
			h.Forget()
			mustFetch(t, again(t, s), llama(), files)
			asked := len(h.Requests()) > 0
			if refetch := name == "bytes changed" || name == "blob deleted"; asked != refetch {
				t.Errorf("asked the hub: %t, want %t", asked, refetch)
			}
		})
	}
}

// TestFetch_adoptsWhatOthersFetched: blobs of another program are read once and kept, if they are what they say.
func TestFetch_adoptsWhatOthersFetched(t *testing.T) {
	files := map[string][]byte{"a.gguf": ggufFile(5000, 1), "b.gguf": ggufFile(5000, 2)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	s := newStore(t, h)
	blobs := filepath.Join(s.cfg.CacheDir, "hub/models--org--model/blobs")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Clone(files["b.gguf"])
	wrong[4000] ^= 1
	for name, b := range map[string][]byte{"a.gguf": files["a.gguf"], "b.gguf": wrong} {
		if err := os.WriteFile(filepath.Join(blobs, fmt.Sprintf("%x", sum256(files[name]))), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mustFetch(t, s, llama("*.gguf"), files)
	if sent := h.Sent(); sent != int64(len(files["b.gguf"])) {
		t.Errorf("the hub sent %d bytes; only the wrong blob of %d had to be fetched", sent, len(files["b.gguf"]))
	}
}

// TestFetch_plantedLinks: links that lie in the cache lead no write out of it.
func TestFetch_plantedLinks(t *testing.T) {
	files := map[string][]byte{"sub/a.gguf": ggufFile(1000, 1)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	s := newStore(t, h)
	commit := h.Push(hub.Repo{ID: "org/model", Files: files})
	outside := t.TempDir()
	repo := filepath.Join(s.cfg.CacheDir, "hub/models--org--model")
	for _, dir := range []string{"snapshots/" + commit, "blobs"} {
		if err := os.MkdirAll(filepath.Join(repo, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(repo, "snapshots", commit, "sub")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fetch(t.Context(), llama(), nil); err == nil {
		t.Error("a snapshot that leads out of itself was taken")
	}
	if got := tree(t, outside); got != "" {
		t.Errorf("written outside: %s", got)
	}
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	deleteFile(t, filepath.Join(repo, "snapshots", commit, "sub"))
	hash := fmt.Sprintf("%x", sum256(files["sub/a.gguf"]))
	deleteFile(t, filepath.Join(repo, "blobs", hash))
	if err := os.Symlink(victim, filepath.Join(repo, "blobs", hash+".nebula.part")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fetch(t.Context(), llama(), nil); err == nil {
		t.Error("a partial file that is a link was taken")
	}
	if b, _ := os.ReadFile(victim); string(b) != "mine" {
		t.Errorf("overwritten through a link: %q", b)
	}
}

// TestFetch_progress checks the contract of Progress on a slow download of several files.
func TestFetch_progress(t *testing.T) {
	files := map[string][]byte{"config.json": []byte("{}"), "model.safetensors": tensors(300_000, 1), "tokenizer.json": random(90_000, 2)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	h.Break(hub.Faults{BytesPerSecond: 400_000, Flip: 1, FlipAt: 200_000})
	s := newStore(t, h)
	var all []Progress
	m, err := s.Fetch(t.Context(), vllm(), func(p Progress) { all = append(all, p) })
	if err != nil {
		t.Fatal(err)
	}
	last := all[len(all)-1]
	if last.Phase != api.PhaseComplete || last.DoneBytes != last.TotalBytes || last.TotalBytes != m.Bytes || last.FilesDone != 3 || last.FilesTotal != 3 {
		t.Errorf("ended with %+v of %d bytes", last, m.Bytes)
	}
	if got := int64(last.NetworkBytes); got != h.Sent() {
		t.Errorf("%d network bytes counted, %d sent", got, h.Sent())
	}
	speeds := 0
	for i, p := range all {
		if p.DoneBytes > 0 && p.TotalBytes != m.Bytes {
			t.Errorf("bytes before the total is known: %+v", p)
		}
		if past := p.Phase == api.PhaseVerifying || p.Phase == api.PhaseComplete; p.TotalBytes > 0 && past != (p.DoneBytes == p.TotalBytes) {
			t.Errorf("done == total must hold exactly at the end: %+v", p)
		}
		if i > 0 && (p.DoneBytes < all[i-1].DoneBytes || p.FilesDone < all[i-1].FilesDone) {
			t.Errorf("fell from %+v to %+v", all[i-1], p)
		}
		if p.Speed > 0 && p.ETASeconds > 0 {
			speeds++
		}
	}
	if speeds == 0 {
		t.Error("no speed was ever told")
	}
	var doc api.DownloadProgress
	last.Fill(&doc)
	if doc.ProgressPct != 100 || doc.DownloadedBytes != m.Bytes || doc.FilesDone != 3 {
		t.Errorf("document %+v", doc)
	}
}
