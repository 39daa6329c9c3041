package modelfiles

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/test/hub"
)

// left returns the paths of the files and links below the store's folder, but for locks.
func left(t *testing.T, s *Store) (out []string) {
	t.Helper()
	err := filepath.WalkDir(s.cfg.CacheDir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && filepath.Ext(name) != ".lock" {
			out = append(out, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func chosen(files ...string) api.ModelSpec {
	return api.ModelSpec{ModelName: "acme/m", ModelSource: api.SourceHuggingFace, EngineType: api.EngineLlamaCPP, Files: files}
}

// TestPurge_takesWhatNothingElseRefersTo: two choices of one repository share a file.
func TestPurge_takesWhatNothingElseRefersTo(t *testing.T) {
	q4, q8, shared := ggufFile(64<<10, 1), ggufFile(96<<10, 2), ggufFile(32<<10, 3)
	h := hub.Start(t, hub.Repo{ID: "acme/m", Files: map[string][]byte{"m-Q4.gguf": q4, "m-Q8.gguf": q8, "mmproj-m.gguf": shared}})
	s := newStore(t, h)
	fetch := func(spec api.ModelSpec) Model {
		t.Helper()
		m, err := s.Fetch(t.Context(), Request{Spec: spec}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	purge := func(spec api.ModelSpec, before time.Time) uint64 {
		t.Helper()
		freed, err := s.Purge(t.Context(), spec, before)
		if err != nil {
			t.Fatal(err)
		}
		return freed
	}
	first, second := chosen("*Q4.gguf", "mmproj*"), chosen("*Q8.gguf", "mmproj*")
	fetch(first)
	kept := fetch(second)
	later := time.Now().Add(time.Second)
	if freed := purge(first, time.Now().Add(-time.Hour)); freed != 0 {
		t.Errorf("a purge from before the files were complete freed %d bytes", freed)
	}
	if freed := purge(first, later); freed < uint64(len(q4)) || freed > uint64(len(q4))+8<<10 {
		t.Errorf("freed %d bytes, want the %d of Q4 in blocks", freed, len(q4))
	}
	before := h.Sent()
	if again := fetch(second); again.Path != kept.Path || h.Sent() != before {
		t.Errorf("the other choice was touched: %d bytes fetched again", h.Sent()-before)
	}
	if _, err := os.Stat(kept.MMProj); err != nil {
		t.Errorf("the shared file: %v", err)
	}
	if freed := purge(first, later); freed != 0 {
		t.Errorf("a second purge freed %d bytes", freed)
	}
	purge(second, later)
	if files := left(t, s); len(files) > 0 {
		t.Errorf("left: %v", files)
	}
	if _, err := os.Stat(filepath.Join(s.cfg.CacheDir, "hub", "models--acme--m")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the repository's folder: %v", err)
	}
	fetch(first) // and it can all be had again
}

// TestPurge_sparesWhatOthersMade: a link of another program to the same content keeps it.
func TestPurge_sparesWhatOthersMade(t *testing.T) {
	h := hub.Start(t, hub.Repo{ID: "acme/m", Files: map[string][]byte{"m.gguf": ggufFile(1000, 1)}})
	s := newStore(t, h)
	m, err := s.Fetch(t.Context(), Request{Spec: chosen()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	at, err := os.Readlink(m.Path)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(filepath.Dir(m.Path), "copy.gguf")
	if err := os.Symlink(at, other); err != nil {
		t.Fatal(err)
	}
	if freed, err := s.Purge(t.Context(), chosen(), time.Now().Add(time.Second)); err != nil || freed != 0 {
		t.Errorf("freed %d, %v", freed, err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("another program's file: %v", err)
	}
	if _, err := os.Lstat(m.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("our name of it: %v", err)
	}
}

func TestPurge_neverOfALocalModel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mine.gguf")
	if err := os.WriteFile(path, ggufFile(100, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	s := newStore(t, hub.Start(t))
	spec := api.ModelSpec{ModelName: "mine", ModelSource: api.SourceLocal, ModelPath: path}
	if _, err := s.Purge(t.Context(), spec, time.Now()); err == nil {
		t.Error("purged")
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// TestPurge_andFetchExcludeEachOther: a purge under a fetch is refused, and a fetch under a purge waits.
func TestPurge_andFetchExcludeEachOther(t *testing.T) {
	h := hub.Start(t, hub.Repo{ID: "acme/m", Files: map[string][]byte{"m.gguf": ggufFile(64<<10, 1)}})
	h.Break(hub.Faults{BytesPerSecond: 1000})
	s := newStore(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	moving := make(chan struct{}, 100)
	go func() {
		defer close(over)
		_, _ = s.Fetch(ctx, Request{Spec: chosen()}, func(p Progress) {
			if p.TotalBytes > 0 {
				select {
				case moving <- struct{}{}:
				default:
				}
			}
		})
	}()
	<-moving
	if _, err := s.Purge(t.Context(), chosen(), time.Now()); err == nil {
		t.Error("purged under a fetch")
	}
	cancel()
	<-over
	h.Break(hub.Faults{})
	j, err := s.newJob(Request{Spec: chosen()}, wanted(Request{Spec: chosen()}))
	if err != nil {
		t.Fatal(err)
	}
	leave, err := s.enterPurge(j.dir)
	if err != nil {
		t.Fatal(err)
	}
	fetched := make(chan error, 1)
	go func() { _, err := s.Fetch(t.Context(), Request{Spec: chosen()}, nil); fetched <- err }()
	select {
	case err := <-fetched:
		t.Errorf("fetched under a purge: %v", err)
	case <-time.After(50 * time.Millisecond): // nothing is to happen
	}
	leave()
	if err := <-fetched; err != nil {
		t.Error(err)
	}
}
