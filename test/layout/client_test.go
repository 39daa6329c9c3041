package layout

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles"
	"github.com/nebula-serve/nebula/test/hub"
)

// client is a Python with the official client: NEBULA_HF_PYTHON, else what scripts/huggingface-hub.sh has put in the cache folder. It never
// downloads one.
func client(t *testing.T) string {
	t.Helper()
	if name := os.Getenv("NEBULA_HF_PYTHON"); name != "" {
		return name
	}
	dir := os.Getenv("NEBULA_HF_CLIENT_DIR")
	if cache, err := os.UserCacheDir(); dir == "" && err == nil {
		dir = filepath.Join(cache, "nebula", "huggingface-hub")
	}
	name := filepath.Join(dir, "python3")
	if _, err := os.Stat(name); err != nil {
		t.Skip("no official client of the Hugging Face Hub: run scripts/huggingface-hub.sh, or set NEBULA_HF_PYTHON; the golden trees are compared all the same")
	}
	return name
}

// official runs Python code with the client on a cache and decodes what it prints last.
func official(t *testing.T, h *hub.Hub, cache, code string, answer any) {
	t.Helper()
	out, err := python(t, h, cache, code).CombinedOutput()
	if err != nil {
		t.Fatalf("the official client: %v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), answer); err != nil {
		t.Fatalf("the official client said %s: %v", out, err)
	}
}

func python(t *testing.T, h *hub.Hub, cache, code string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), client(t), "-c", "import json, sys\nfrom huggingface_hub import *\nfrom huggingface_hub.errors import *\n"+code)
	cmd.Env = []string{"HOME=" + t.TempDir(), "HF_HOME=" + cache, "HF_ENDPOINT=" + h.URL, "HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_PROGRESS_BARS=1", "HF_HUB_DISABLE_XET=1"}
	return cmd
}

// TestOfficialClient_hub: the client downloads from the hub of these tests, so that hub speaks as the real one does.
func TestOfficialClient_hub(t *testing.T) {
	r, secret := quants(), shards()
	secret.ID, secret.Private, secret.Allow = "acme/secret", true, []string{"hf_friend"}
	gated := shards()
	gated.ID, gated.Gated = "acme/gated", true
	h := hub.Start(t, r, secret, gated)
	h.AddToken("hf_stranger")
	h.Break(hub.Faults{PageSize: 2})
	cache := t.TempDir()
	var got struct {
		Path, Commit         string
		Sizes                map[string]int64
		Branches             []string
		Gated, Hidden, Wrong string
		Private              int
	}
	official(t, h, cache, `
api = HfApi()
def refused(f):
    try:
        f()
    except Exception as e:
        return type(e).__name__
p = snapshot_download("acme/Tiny.v1-GGUF")
i = api.model_info("acme/Tiny.v1-GGUF", files_metadata=True)
print(json.dumps({
    "path": p, "commit": i.sha, "sizes": {s.rfilename: s.size for s in i.siblings},
    "branches": [b.name for b in api.list_repo_refs("acme/Tiny.v1-GGUF").branches],
    "gated": refused(lambda: hf_hub_download("acme/gated", "config.json")),
    "hidden": refused(lambda: api.model_info("acme/secret", token="hf_stranger")), # without a token the client looks for https://
    "wrong": refused(lambda: api.model_info("acme/Tiny.v1-GGUF", revision="nope")),
    "private": len(api.list_repo_files("acme/secret", token="hf_friend")),
}))`, &got)
	for name, want := range r.Files {
		if b, err := os.ReadFile(filepath.Join(got.Path, name)); err != nil || string(b) != string(want) || got.Sizes[name] != int64(len(want)) {
			t.Errorf("%s: %d bytes, %v; its size is told as %d", name, len(b), err, got.Sizes[name])
		}
	}
	if got.Commit != h.Push(r) || !slices.Equal(got.Branches, []string{"main"}) || got.Private != len(secret.Files) {
		t.Errorf("%+v", got)
	}
	if got.Gated != "GatedRepoError" || got.Hidden != "RepositoryNotFoundError" || got.Wrong != "RevisionNotFoundError" {
		t.Errorf("refusals: %+v", got)
	}
}

// TestOfficialClient_readsOurs: what Nebula wrote the client finds offline, and its own tools have nothing to say against it.
func TestOfficialClient_readsOurs(t *testing.T) {
	one, many := quants(), shards()
	h := hub.Start(t, one, many, branch(changed(quants()), "refs/pr/1"))
	cache := t.TempDir()
	s := node(t, h, cache)
	part := fetch(t, s, api.ModelSpec{ModelName: one.ID}, api.EngineLlamaCPP)
	other := fetch(t, s, api.ModelSpec{ModelName: one.ID, Revision: "refs/pr/1"}, api.EngineLlamaCPP)
	whole := fetch(t, s, api.ModelSpec{ModelName: many.ID, Files: []string{"*"}}, api.EngineVLLM)
	before := h.Sent()
	var got struct {
		Warnings, Refs     []string
		Sizes              map[string]int64
		Part, Other, Whole string
		File, Online       string
		Missing            string
	}
	official(t, h, cache, `
c = scan_cache_dir()
def missing():
    try:
        return hf_hub_download("acme/Tiny.v1-GGUF", "tiny-Q8_0.gguf", local_files_only=True)
    except LocalEntryNotFoundError as e:
        return type(e).__name__
print(json.dumps({
    "warnings": [str(w) for w in c.warnings], "sizes": {r.repo_id: r.size_on_disk for r in c.repos},
    "refs": sorted(r.repo_id + "@" + ref for r in c.repos for ref in r.refs),
    "part": snapshot_download("acme/Tiny.v1-GGUF", local_files_only=True),
    "other": snapshot_download("acme/Tiny.v1-GGUF", revision="refs/pr/1", local_files_only=True),
    "whole": snapshot_download("acme/Tiny", local_files_only=True),
    "file": hf_hub_download("acme/Tiny.v1-GGUF", "tiny-Q4_K_M.gguf", local_files_only=True),
    "missing": missing(),
    "online": snapshot_download("acme/Tiny"),
}))`, &got)
	if len(got.Warnings) > 0 || !slices.Equal(got.Refs, []string{"acme/Tiny.v1-GGUF@main", "acme/Tiny.v1-GGUF@refs/pr/1", "acme/Tiny@main"}) {
		t.Errorf("scan: %+v", got)
	}
	if got.Part != filepath.Dir(part.Path) || got.File != part.Path || got.Other != filepath.Dir(other.Path) || got.Whole != whole.Path || got.Online != whole.Path || got.Missing != "LocalEntryNotFoundError" {
		t.Errorf("the client finds %+v, Nebula has %s, %s and %s", got, part.Path, other.Path, whole.Path)
	}
	if again := h.Sent() - before; again != 0 {
		t.Errorf("the client fetched %d bytes that were there", again)
	}
	size := int64(0)
	for _, b := range many.Files {
		size += int64(len(b))
	}
	size -= int64(len("{}")) // two files of the same content are one
	if got.Sizes[many.ID] != size {
		t.Errorf("the client counts %d bytes of %d", got.Sizes[many.ID], size)
	}
}

// TestOfficialClient_weReadTheirs: what the client downloaded is checked and used, not fetched again.
func TestOfficialClient_weReadTheirs(t *testing.T) {
	h := hub.Start(t, quants())
	cache := t.TempDir()
	var path string
	official(t, h, cache, `print(json.dumps(snapshot_download("acme/Tiny.v1-GGUF")))`, &path)
	before := h.Sent()
	m := fetch(t, node(t, h, cache), api.ModelSpec{ModelName: "acme/Tiny.v1-GGUF"}, api.EngineLlamaCPP)
	if filepath.Dir(m.Path) != path || h.Sent() != before {
		t.Errorf("%s instead of below %s, and %d bytes fetched again", m.Path, path, h.Sent()-before)
	}
}

// TestOfficialClient_together: both fetch the same file into the same cache at the same time, and it comes once: they share its lock.
func TestOfficialClient_together(t *testing.T) {
	r := hub.Repo{ID: "acme/Tiny.v1-GGUF", Files: map[string][]byte{"tiny-Q4_K_M.gguf": hub.Weights(300_000, 1)}}
	h := hub.Start(t, r)
	h.Break(hub.Faults{BytesPerSecond: 150_000})
	cache := t.TempDir()
	theirs := python(t, h, cache, `hf_hub_download("acme/Tiny.v1-GGUF", "tiny-Q4_K_M.gguf")`)
	out := new(strings.Builder)
	theirs.Stdout, theirs.Stderr = out, out
	if err := theirs.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- theirs.Wait() }()
	for h.Sent() == 0 { // the client has begun
		select {
		case err := <-ended:
			t.Fatalf("the client: %v\n%s", err, out)
		default:
		}
	}
	_, err := node(t, h, cache).Fetch(t.Context(), modelfiles.Request{Spec: api.ModelSpec{ModelUID: "m", ModelName: r.ID}, Engine: api.EngineLlamaCPP}, nil)
	if theirs := <-ended; err != nil || theirs != nil {
		t.Fatalf("Nebula: %v; the client: %v\n%s", err, theirs, out)
	}
	if size := int64(len(r.Files["tiny-Q4_K_M.gguf"])); h.Sent() != size {
		t.Errorf("%d bytes were sent of a file of %d", h.Sent(), size)
	}
}
