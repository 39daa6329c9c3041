package modelfiles

import (
	"bytes"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// put writes files into a new folder.
func put(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func localStore(t *testing.T, roots ...string) *Store {
	t.Helper()
	s, err := New(Config{CacheDir: filepath.Join(t.TempDir(), "cache"), LocalRoots: roots})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func local(path, engine string, files ...string) Request {
	return Request{Spec: api.ModelSpec{ModelName: "x", ModelSource: api.SourceLocal, ModelPath: path, Files: files}, Engine: engine}
}

var folder = map[string][]byte{
	"config.json":       []byte(`{"architectures":["BertModel"],"max_position_embeddings":512}`),
	"model.safetensors": tensors(100, 1), "modules.json": []byte("[]"), "1_Pooling/config.json": []byte("{}"), "old/model.safetensors": tensors(5, 1),
}

func TestLocal_opens(t *testing.T) {
	parts := map[string][]byte{"m-00001-of-00002.gguf": ggufFile(50, 1), "m-00002-of-00002.gguf": ggufFile(60, 2), "other.gguf": ggufFile(1, 3)}
	cases := []struct {
		name    string
		files   map[string][]byte
		path    string // below the folder
		engine  string
		pattern []string
		opens   string
		takes   []string
		meta    manifest.Metadata
	}{
		{"a file", parts, "other.gguf", api.EngineLlamaCPP, nil, "other.gguf", []string{"other.gguf"}, manifest.Metadata{Architecture: "llama", ContextLength: 4096}},
		{"a part of a split model", parts, "m-00002-of-00002.gguf", api.EngineLlamaCPP, nil, "m-00001-of-00002.gguf", []string{"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"}, manifest.Metadata{Architecture: "llama", ContextLength: 4096}},
		{"a folder with one model", map[string][]byte{"a.gguf": ggufFile(9, 1), "mmproj-f16.gguf": ggufFile(9, 1), "x.txt": nil}, "", api.EngineLlamaCPP, nil, "a.gguf", []string{"a.gguf", "mmproj-f16.gguf"}, manifest.Metadata{Architecture: "llama", ContextLength: 4096}},
		{"a folder with several and a choice", parts, "", api.EngineLlamaCPP, []string{"other.gguf"}, "other.gguf", []string{"other.gguf"}, manifest.Metadata{Architecture: "llama", ContextLength: 4096}},
		{"a safetensors folder", folder, "", api.EngineVLLM, nil, "", []string{"1_Pooling/config.json", "config.json", "model.safetensors", "modules.json"}, manifest.Metadata{Architecture: "BertModel", ContextLength: 512, Embedding: true}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := put(t, c.files)
			before := tree(t, dir)
			told := 0
			m, err := localStore(t).Fetch(t.Context(), local(filepath.Join(dir, c.path), c.engine, c.pattern...), func(Progress) { told++ })
			if err != nil {
				t.Fatal(err)
			}
			var takes []string
			total := 0
			for _, f := range m.Files {
				rel, _ := filepath.Rel(dir, f)
				takes = append(takes, rel)
				total += len(c.files[rel])
			}
			slices.Sort(takes)
			if d := cmp.Diff(c.takes, takes); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(c.meta, m.Metadata); d != "" {
				t.Error(d)
			}
			if m.Path != filepath.Join(dir, c.opens) || m.Bytes != uint64(total) || m.Commit != "" || told != 0 {
				t.Errorf("%+v of %d bytes, progress told %d times", m, total, told)
			}
			if after := tree(t, dir); after != before {
				t.Errorf("the folder was changed:\n%s", cmp.Diff(before, after))
			}
		})
	}
}

func TestLocal_linksAreFollowed(t *testing.T) {
	dir := put(t, map[string][]byte{"blob": ggufFile(9, 1)})
	for link, to := range map[string]string{"model.gguf": "blob", "again.gguf": "model.gguf"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	m, err := localStore(t).Fetch(t.Context(), local(dir, api.EngineLlamaCPP, "model.gguf"), nil)
	if err != nil || m.Path != filepath.Join(dir, "model.gguf") {
		t.Errorf("%+v: %v", m, err)
	}
}

func TestLocal_refuses(t *testing.T) {
	whole := ggufFile(100, 1)
	st := tensors(100, 1)
	with := func(base map[string][]byte, name string, b []byte) map[string][]byte {
		out := maps.Clone(base)
		out[name] = b
		return out
	}
	index := []byte(`{"weight_map":{"a":"a.safetensors","b":"b.safetensors"}}`)
	cases := []struct {
		name   string
		files  map[string][]byte
		path   string // below the folder, or absolute
		engine string
		code   api.FailureCode
		reason fail.Reason
		says   string
	}{
		{"nothing there", nil, "nope.gguf", api.EngineLlamaCPP, api.FailModelMissing, fail.Missing, "does not exist on this node"},
		{"a file as folder", map[string][]byte{"a": whole}, "a/b.gguf", api.EngineLlamaCPP, api.FailModelMissing, fail.Missing, "does not exist"},
		{"relative", nil, "!relative.gguf", api.EngineLlamaCPP, api.FailInvalidModel, fail.UnsafeName, "absolute"},
		{"empty", nil, "!", api.EngineLlamaCPP, api.FailInvalidModel, fail.UnsafeName, "absolute"},
		{"dots", nil, "!/tmp/../etc/passwd", api.EngineLlamaCPP, api.FailInvalidModel, fail.UnsafeName, "absolute"},
		{"NUL", nil, "!/tmp/a\x00b", api.EngineLlamaCPP, api.FailInvalidModel, fail.UnsafeName, "absolute"},
		{"a device", nil, "!/dev/null", api.EngineLlamaCPP, api.FailInvalidModel, fail.Unreadable, "neither a file nor a folder"},
		{"not GGUF", map[string][]byte{"a.gguf": []byte("hello, world")}, "a.gguf", api.EngineLlamaCPP, api.FailNotGGUF, fail.NotGGUF, "does not begin with GGUF"},
		{"an empty file", map[string][]byte{"a.gguf": {}}, "a.gguf", api.EngineLlamaCPP, api.FailNotGGUF, fail.NotGGUF, "not a GGUF"},
		{"another name, still not GGUF", map[string][]byte{"notes.txt": []byte("hello")}, "notes.txt", api.EngineLlamaCPP, api.FailNotGGUF, fail.NotGGUF, "not a GGUF"},
		{"cut in its data", map[string][]byte{"a.gguf": whole[:len(whole)-1]}, "a.gguf", api.EngineLlamaCPP, api.FailModelTruncated, fail.Truncated, "incomplete"},
		{"cut in its header", map[string][]byte{"a.gguf": whole[:40]}, "a.gguf", api.EngineLlamaCPP, api.FailModelTruncated, fail.Truncated, "incomplete"},
		{"GGUF of another age", map[string][]byte{"a.gguf": append([]byte("GGUF\x01\x00\x00\x00"), whole[8:]...)}, "a.gguf", api.EngineLlamaCPP, api.FailInvalidModel, fail.BadFile, "version 1"},
		{"a part is missing", map[string][]byte{"m-00001-of-00002.gguf": whole}, "m-00001-of-00002.gguf", api.EngineLlamaCPP, api.FailInvalidModel, fail.Incomplete, "1 are missing"},
		{"a part is cut", map[string][]byte{"m-00001-of-00002.gguf": whole, "m-00002-of-00002.gguf": whole[:99]}, "m-00001-of-00002.gguf", api.EngineLlamaCPP, api.FailModelTruncated, fail.Truncated, "m-00002"},
		{"two models", map[string][]byte{"a.gguf": whole, "b.gguf": whole}, "", api.EngineLlamaCPP, api.FailInvalidModel, fail.Ambiguous, "2 models"},
		{"an empty folder", nil, "", api.EngineLlamaCPP, api.FailInvalidModel, fail.NoWeights, "no GGUF"},
		{"a file for vLLM", map[string][]byte{"a.gguf": whole}, "a.gguf", api.EngineVLLM, api.FailInvalidModel, fail.NoWeights, "reads a folder"},
		{"no config.json", map[string][]byte{"model.safetensors": st}, "", api.EngineVLLM, api.FailInvalidModel, fail.Incomplete, "no config.json"},
		{"a shard is missing", map[string][]byte{"config.json": nil, "a.safetensors": st, manifest.TensorIndex: index}, "", api.EngineVLLM, api.FailInvalidModel, fail.Incomplete, "b.safetensors"},
		{"an index that is none", map[string][]byte{"config.json": nil, "a.safetensors": st, manifest.TensorIndex: []byte("{")}, "", api.EngineVLLM, api.FailInvalidModel, fail.Inconsistent, "not an index"},
		{"safetensors cut in the data", with(folder, "model.safetensors", st[:len(st)-1]), "", api.EngineVLLM, api.FailModelTruncated, fail.Truncated, "incomplete"},
		{"safetensors cut in the header", with(folder, "model.safetensors", st[:20]), "", api.EngineVLLM, api.FailModelTruncated, fail.Truncated, "incomplete"},
		{"safetensors of nothing", with(folder, "model.safetensors", nil), "", api.EngineVLLM, api.FailModelTruncated, fail.Truncated, "needs 8"},
		{"not safetensors", with(folder, "model.safetensors", []byte(strings.Repeat("x", 300))), "", api.EngineVLLM, api.FailInvalidModel, fail.BadFile, "not a safetensors"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path, given := strings.CutPrefix(c.path, "!")
			if !given {
				path = filepath.Join(put(t, c.files), c.path)
			}
			_, err := localStore(t).Fetch(t.Context(), local(path, c.engine), nil)
			e, ok := fail.As(err)
			if !ok || e.Code != c.code || e.Reason != c.reason || !e.Final || !strings.Contains(e.Message, c.says) {
				t.Errorf("got %v", err)
				if ok {
					t.Errorf("%s %s final=%t", e.Code, e.Reason, e.Final)
				}
			}
		})
	}
}

func TestLocal_allowedFolders(t *testing.T) {
	allowed, other := put(t, map[string][]byte{"a.gguf": ggufFile(9, 1)}), put(t, map[string][]byte{"b.gguf": ggufFile(9, 1)})
	if err := os.Symlink(filepath.Join(other, "b.gguf"), filepath.Join(allowed, "link.gguf")); err != nil {
		t.Fatal(err)
	}
	s := localStore(t, allowed)
	if _, err := s.Fetch(t.Context(), local(filepath.Join(allowed, "a.gguf"), api.EngineLlamaCPP), nil); err != nil {
		t.Error(err)
	}
	for _, path := range []string{filepath.Join(other, "b.gguf"), filepath.Join(allowed, "link.gguf"), allowed + "-not/a.gguf"} {
		if _, err := s.Fetch(t.Context(), local(path, api.EngineLlamaCPP), nil); err == nil {
			t.Errorf("%s was opened", path)
		}
	}
}

// TestLocal_openToAll: a folder in which everybody may write is a warning, once, and no more than that.
func TestLocal_openToAll(t *testing.T) {
	dir := put(t, map[string][]byte{"sub/a.gguf": ggufFile(9, 1), "own/b.gguf": ggufFile(9, 1)})
	if err := os.Chmod(filepath.Join(dir, "sub"), 0o777); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := localStore(t)
	s.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	for range 2 {
		for _, name := range []string{"sub/a.gguf", "own/b.gguf"} {
			if _, err := s.Fetch(t.Context(), local(filepath.Join(dir, name), api.EngineLlamaCPP), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := strings.Count(log.String(), "everybody"); n != 1 || !strings.Contains(log.String(), "sub/a.gguf") {
		t.Errorf("warned %d times:\n%s", n, log.String())
	}
}
