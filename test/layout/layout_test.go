package layout

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles"
	"github.com/nebula-serve/nebula/test/hub"
)

var update = flag.Bool("update", false, "write the golden trees anew")

// TestMain fixes what decides about the modes of files.
func TestMain(m *testing.M) {
	syscall.Umask(0o022)
	os.Exit(m.Run())
}

// tensors is a sound safetensors file.
func tensors(fill string) []byte {
	data := bytes.Repeat([]byte(fill), 256)
	head := fmt.Sprintf(`{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}`, len(data), len(data))
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(head))), head...), data...)
}

// quants has more than one engine needs, and a folder.
func quants() hub.Repo {
	return hub.Repo{ID: "acme/Tiny.v1-GGUF", Files: map[string][]byte{
		"README.md": []byte("# Tiny\n"), "tiny-Q4_K_M.gguf": hub.Weights(2000, 4), "tiny-Q8_0.gguf": hub.Weights(3000, 8), "sub/notes.txt": []byte("notes\n"), ".gitattributes": []byte("x\n"),
	}}
}

// shards is a model for engines that read a folder, with an index.
func shards() hub.Repo {
	return hub.Repo{ID: "acme/Tiny", Files: map[string][]byte{
		"README.md": []byte("# Tiny\n"), "config.json": []byte(`{"architectures":["LlamaForCausalLM"]}`), "tokenizer.json": []byte("{}"),
		"model-00001-of-00002.safetensors": tensors("one"), "model-00002-of-00002.safetensors": tensors("two"),
		"model.safetensors.index.json": []byte(`{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`),
		"original/params.json":         []byte("{}"),
	}}
}

// node is a store on a new cache.
func node(t *testing.T, h *hub.Hub, cache string) *modelfiles.Store {
	t.Helper()
	s, err := modelfiles.New(modelfiles.Config{CacheDir: cache, Endpoint: h.URL, KeepFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fetch(t *testing.T, s *modelfiles.Store, spec api.ModelSpec, engine string) modelfiles.Model {
	t.Helper()
	spec.ModelUID = "m"
	m, err := s.Fetch(t.Context(), modelfiles.Request{Spec: spec, Engine: engine}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestGolden compares what is on disk after a fetch, to the byte where it is text, with trees that are known to be right: the official client
// reads them.
func TestGolden(t *testing.T) {
	for _, c := range []struct {
		name   string
		repos  []hub.Repo // versions, the last one is fetched last
		spec   api.ModelSpec
		engine string
	}{
		{"gguf", []hub.Repo{quants()}, api.ModelSpec{ModelName: "acme/Tiny.v1-GGUF"}, api.EngineLlamaCPP},
		{"shards", []hub.Repo{shards()}, api.ModelSpec{ModelName: "acme/Tiny"}, api.EngineVLLM},
		{"everything", []hub.Repo{quants()}, api.ModelSpec{ModelName: "acme/Tiny.v1-GGUF", Files: []string{"*"}}, api.EngineLlamaCPP},
		{"revision", []hub.Repo{branch(quants(), "refs/pr/1")}, api.ModelSpec{ModelName: "acme/Tiny.v1-GGUF", Revision: "refs/pr/1"}, api.EngineLlamaCPP},
		{"two-versions", []hub.Repo{quants(), changed(quants())}, api.ModelSpec{ModelName: "acme/Tiny.v1-GGUF"}, api.EngineLlamaCPP},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, cache := hub.Start(t), t.TempDir()
			for _, r := range c.repos {
				h.Push(r)
				s := node(t, h, cache)
				c.spec.ModelUID = "m"
				if _, err := s.Fetch(t.Context(), modelfiles.Request{Spec: c.spec, Engine: c.engine, Refresh: true}, nil); err != nil {
					t.Fatal(err)
				}
			}
			golden(t, filepath.Join("testdata", c.name+".txt"), tree(t, filepath.Join(cache, "hub")))
		})
	}
}

func branch(r hub.Repo, name string) hub.Repo {
	r.Revision = name
	return r
}

// changed shares a large file with the version before it.
func changed(r hub.Repo) hub.Repo {
	r.Files["README.md"] = []byte("# Tiny, second edition\n")
	return r
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("the cache is not as it should be (-want +got); go test -update writes the tree anew:\n%s", d)
	}
}

// tree lists a folder: mode, name, and where a link leads, what a short file says or how long another one is.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if d.Type() == fs.ModeSymlink {
			to, err := os.Readlink(name)
			fmt.Fprintf(&b, "%s -> %s\n", rel, to)
			return err
		}
		fmt.Fprintf(&b, "%s %s ", info.Mode(), rel)
		raw, err := os.ReadFile(name)
		if len(raw) > 100 {
			fmt.Fprintf(&b, "(%d bytes)\n", len(raw))
		} else {
			fmt.Fprintf(&b, "%q\n", raw)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
