package modelfiles

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nebula-serve/nebula/api"
	wire "github.com/nebula-serve/nebula/internal/modelfiles/hub"
	"github.com/nebula-serve/nebula/test/hub"
)

func TestMain(m *testing.M) {
	if told := os.Getenv("MODELFILES_TEST_FETCH"); told != "" {
		os.Exit(fetchAsProcess(told))
	}
	if path := os.Getenv("MODELFILES_TEST_HOLD"); path != "" {
		os.Exit(holdAsProcess(path))
	}
	goleak.VerifyTestMain(m)
}

// gguf returns a sound GGUF file with n bytes of random tensor data.
func ggufFile(n int, seed uint64) []byte {
	var b bytes.Buffer
	put := func(vs ...any) {
		for _, v := range vs {
			if s, ok := v.(string); ok {
				_ = binary.Write(&b, binary.LittleEndian, uint64(len(s)))
				b.WriteString(s)
				continue
			}
			_ = binary.Write(&b, binary.LittleEndian, v)
		}
	}
	b.WriteString("GGUF")
	put(uint32(3), uint64(1), uint64(2))
	put("general.architecture", uint32(8), "llama", "llama.context_length", uint32(4), uint32(4096))
	put("t", uint32(1), uint64(n), uint32(24), uint64(0))
	for b.Len()%32 != 0 {
		b.WriteByte(0)
	}
	return append(b.Bytes(), random(n, seed)...)
}

func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

// tensors returns a sound safetensors file with n bytes of data.
func tensors(n int, seed uint64) []byte {
	head := fmt.Sprintf(`{"__metadata__":{"format":"pt"},"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}`, n, n)
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(head)))
	return append(append(b, head...), random(n, seed)...)
}

// quick is a patience for tests: nothing in them depends on how long it is, only on its being short.
func quick() wire.Patience {
	return wire.Patience{FirstDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond, Tries: 6, Stall: 20 * time.Second, MaxPark: time.Minute}
}

func newStore(t *testing.T, h *hub.Hub, change ...func(*Config)) *Store {
	t.Helper()
	cfg := Config{CacheDir: t.TempDir(), NodeID: "n1", Endpoint: h.URL, UserAgent: "nebula-test", KeepFree: 1, patience: quick()}
	for _, c := range change {
		c(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// again is a Store on the same folder, as after a restart.
func again(t *testing.T, s *Store, change ...func(*Config)) *Store {
	t.Helper()
	cfg := s.cfg
	for _, c := range change {
		c(&cfg)
	}
	out, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func llama(files ...string) Request {
	return Request{Spec: api.ModelSpec{ModelUID: "m", ModelName: "org/model", ModelSource: api.SourceHuggingFace, Files: files}, Engine: api.EngineLlamaCPP}
}

func vllm() Request {
	r := llama()
	r.Engine = api.EngineVLLM
	return r
}

func one(name string, content []byte) hub.Repo {
	return hub.Repo{ID: "org/model", Files: map[string][]byte{name: content}}
}

// mustFetch fetches and compares every file with what the hub has.
func mustFetch(t *testing.T, s *Store, req Request, want map[string][]byte) Model {
	t.Helper()
	m, err := s.Fetch(t.Context(), req, nil)
	if err != nil {
		t.Fatal(err)
	}
	same(t, m, want)
	return m
}

func same(t *testing.T, m Model, want map[string][]byte) {
	t.Helper()
	got := map[string][]byte{}
	for _, f := range m.Files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		_, rel, _ := strings.Cut(f, "/snapshots/"+m.Commit+"/")
		got[rel] = b
	}
	if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
		t.Fatalf("got files %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	for name := range want {
		if !bytes.Equal(got[name], want[name]) {
			t.Fatalf("%s differs from the hub's", name)
		}
	}
}

// tree lists a folder: files with their content if short, links with their target.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		if d.Type() == fs.ModeSymlink {
			to, err := os.Readlink(name)
			fmt.Fprintf(&b, "%s -> %s\n", rel, to)
			return err
		}
		raw, err := os.ReadFile(name)
		if len(raw) > 50 {
			fmt.Fprintf(&b, "%s (%d bytes)\n", rel, len(raw))
		} else {
			fmt.Fprintf(&b, "%s %q\n", rel, raw)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// unpublished fails when anything is published that an engine or another program would find.
func unpublished(t *testing.T, s *Store) {
	t.Helper()
	for line := range strings.SplitSeq(tree(t, s.cfg.CacheDir), "\n") {
		name, _, _ := strings.Cut(line, " ")
		if strings.Contains(name, "/snapshots/") || strings.Contains(name, "/refs/") || strings.Contains(name, "manifests") ||
			strings.Contains(name, "/blobs/") && !strings.Contains(name, ".nebula.") {
			t.Errorf("published: %s", line)
		}
	}
}

func sum256(b []byte) [32]byte { return sha256.Sum256(b) }

func overwrite(t *testing.T, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("changed"), at); err != nil {
		t.Fatal(err)
	}
}

func chtimes(t *testing.T, name string) {
	t.Helper()
	if err := os.Chtimes(name, time.Time{}, time.UnixMilli(1e12)); err != nil {
		t.Fatal(err)
	}
}

func deleteFile(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}
