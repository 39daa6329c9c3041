package cache

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestWatcher tells of what is made, rewritten and deleted, and of what a download does again and again nothing.
func TestWatcher(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "a/m.gguf\nb/m.gguf")
	w, err := NewWatcher()
	if err != nil {
		t.Skipf("skipped: the kernel gives no more watchers: %v", err)
	}
	a, b := filepath.Join(root, "a"), filepath.Join(root, "b")
	if !w.Watch([]string{a, b}) {
		t.Fatal("two folders cannot be watched")
	}
	seen := make(chan []string)
	go func() {
		defer close(seen)
		for {
			folders, err := w.Next()
			if err != nil {
				return
			}
			seen <- folders
		}
	}()
	expect := func(what, folder string, change func() error) {
		t.Helper()
		plant(t, a, "x.nebula.journal\nx.nebula.part\nx.lock") // none of them is told
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if got := <-seen; !slices.Equal(got, []string{folder}) {
			t.Errorf("%s: told of %q", what, got)
		}
	}
	expect("rewritten in place", b, func() error {
		f, err := os.OpenFile(filepath.Join(b, "m.gguf"), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return f.Close()
	})
	expect("deleted", b, func() error { return os.Remove(filepath.Join(b, "m.gguf")) })
	expect("a folder", b, func() error { return os.Mkdir(filepath.Join(b, "c"), 0o755) })
	if !w.Watch([]string{a}) {
		t.Error("one folder cannot be watched")
	}
	expect("moved away, where the other folder is not watched any more", a, func() error {
		return errors.Join(os.Remove(filepath.Join(b, "c")), os.Rename(filepath.Join(a, "m.gguf"), filepath.Join(b, "n.gguf")))
	})
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	for range seen {
	}
	if w.Watch([]string{b}) {
		t.Error("a closed watcher watches")
	}
}

// TestWatcher_bounds: past its bound it watches the first folders and says that it does not watch all.
func TestWatcher_bounds(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "a/\nb/\nc/")
	w, err := NewWatcher()
	if err != nil {
		t.Skipf("skipped: the kernel gives no more watchers: %v", err)
	}
	defer w.Close()
	w.most = 2
	all := []string{filepath.Join(root, "a"), filepath.Join(root, "b"), filepath.Join(root, "c")}
	if w.Watch(all) || len(w.ids) != 2 {
		t.Errorf("%d of 2 folders are watched", len(w.ids))
	}
	if !w.Watch([]string{all[2], filepath.Join(root, "gone")}) || len(w.ids) != 1 {
		t.Errorf("%d folders are watched, of which one exists", len(w.ids))
	}
}
