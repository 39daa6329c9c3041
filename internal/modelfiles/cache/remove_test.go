package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

const (
	first  = "1111111111111111111111111111111111111111"
	second = "2222222222222222222222222222222222222222"
)

// put makes a whole model: path and content by turns.
func put(t *testing.T, d Dir, commit, selection, revision string, files ...string) Record {
	t.Helper()
	r := Record{Version: RecordVersion, Repo: d.Model(), Revisions: []string{revision}, Commit: commit, Selection: selection, Format: manifest.FormatGGUF, CreatedMS: 1}
	for i := 0; i < len(files); i += 2 {
		sum := sha256.Sum256([]byte(files[i+1]))
		e := manifest.Entry{Path: files[i], Size: int64(len(files[i+1])), Hash: manifest.Hash{Algo: manifest.SHA256, Hex: hex.EncodeToString(sum[:])}}
		r.Files = append(r.Files, e)
		write(t, d.Blob(e.Hash), files[i+1])
		if err := d.SetSeal(e.Hash); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(d.Link(commit, r.Files), d.Put(r), d.SetRef(revision, commit)); err != nil {
		t.Fatal(err)
	}
	return r
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// scene is a repository with every kind of sharing: two selections of one commit, another commit, and names that are not of Nebula.
func scene(t *testing.T) (Dir, []Record) {
	t.Helper()
	d := NewDir(Root(t.TempDir()), "org/model")
	return d, []Record{
		put(t, d, first, "gguf-a", "main", "a.gguf", "A", "sub/shared.json", "S", "deep/er/only.txt", "O"),
		put(t, d, first, "folder-a", "main", "b.bin", "B", "sub/shared.json", "S"),
		put(t, d, second, "gguf-a", "v2", "a.gguf", "A", "c.gguf", "C"),
	}
}

// sound fails when another program would stumble: a link to nothing, a revision without a snapshot.
func sound(t *testing.T, d Dir) {
	t.Helper()
	err := filepath.WalkDir(d.Root.Hub(), func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.Type() == fs.ModeSymlink {
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s leads to nothing", name)
			}
		}
		if e.Type().IsRegular() && strings.Contains(name, "/refs/") {
			commit, err := os.ReadFile(name)
			if _, serr := os.Stat(d.Snapshot(string(commit))); err != nil || serr != nil {
				t.Errorf("%s leads to no snapshot", name)
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !strings.HasSuffix(name, ".lock") {
			rel, _ := filepath.Rel(dir, name)
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var errCrash = errors.New("the machine stopped")

// after lets n changes of the disk happen.
func after(n int) Remover {
	return Remover{Step: func(string, string) error {
		if n--; n < 0 {
			return errCrash
		}
		return nil
	}}
}

// TestRemove_survivesACrashAtEveryStep ends a removal after each of its changes of the disk. What is left must be fit for other programs, other models
// must be whole, and the next run must end with exactly what an undisturbed one leaves.
func TestRemove_survivesACrashAtEveryStep(t *testing.T) {
	for which, name := range []string{"a selection of a shared commit", "the other one", "a commit of its own"} {
		t.Run(name, func(t *testing.T) {
			d, all := scene(t)
			write(t, filepath.Join(d.Path(), "trees", second+".json"), "{}")
			u := all[which]
			if _, kept, err := (Remover{}).Unit(t.Context(), d, u.Commit, u.Selection, nil); err != nil || kept != "" {
				t.Fatal(kept, err)
			}
			want := files(t, string(d.Root))
			steps := 0
			for ; ; steps++ {
				d, all := scene(t)
				write(t, filepath.Join(d.Path(), "trees", second+".json"), "{}")
				_, _, err := after(steps).Unit(t.Context(), d, u.Commit, u.Selection, nil)
				if err != nil && !errors.Is(err, errCrash) {
					t.Fatal(err)
				}
				sound(t, d)
				for i, r := range all {
					if i != which && !d.Whole(r) {
						t.Fatalf("step %d: %s %s is not whole any more", steps, r.Commit, r.Selection)
					}
				}
				if err == nil {
					break
				}
				s, serr := d.Surveyed(t.Context())
				if serr != nil {
					t.Fatal(serr)
				}
				for _, left := range s.Units() {
					if left.Commit == u.Commit && left.Selection == u.Selection && !left.Broken && !d.Whole(all[which]) {
						t.Fatalf("step %d: what is left is taken for a whole model", steps)
					}
				}
				finish(t, d, u)
				if got := files(t, string(d.Root)); !slices.Equal(got, want) {
					t.Fatalf("step %d: after the next run there is\n%s\nwant\n%s", steps, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
			if steps < 4 {
				t.Errorf("only %d steps were tried", steps)
			}
		})
	}
}

// finish is the next run.
func finish(t *testing.T, d Dir, u Record) {
	t.Helper()
	var m Remover
	if err := m.EmptyTrash(d.Root); err != nil {
		t.Fatal(err)
	}
	if _, kept, err := m.Unit(t.Context(), d, u.Commit, u.Selection, nil); err != nil || kept != "" {
		t.Fatal(kept, err)
	}
	s, err := d.Surveyed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name := range s.Loose() {
		if _, err := m.Loose(t.Context(), d, name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRemove_leavesNothingOfTheLastModel(t *testing.T) {
	d := NewDir(Root(t.TempDir()), "org/model")
	r := put(t, d, first, "gguf-a", "refs/pr/1", "a.gguf", "A", "sub/b.json", "B")
	freed, _, err := Remover{}.Unit(t.Context(), d, r.Commit, r.Selection, nil)
	if err != nil {
		t.Fatal(err)
	}
	if freed == 0 {
		t.Error("it says that nothing is freed")
	}
	if _, err := os.Stat(d.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the repository's folder is still there: %v", files(t, string(d.Root)))
	}
	if got := files(t, string(d.Root)); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

func TestRemove_keepsWhatIsHeld(t *testing.T) {
	d, all := scene(t)
	blob := all[0].Files[0].Hash
	for name, what := range map[string]Held{"a fetch": HeldAll, "an engine": HeldCommit(first), "a peer": HeldBlob(blob)} {
		t.Run(name, func(t *testing.T) {
			release, err := d.Hold(t.Context(), what, name)
			if err != nil {
				t.Fatal(err)
			}
			_, kept, err := Remover{}.Unit(t.Context(), d, first, "gguf-a", nil)
			if kept != "in use by "+name || err != nil {
				t.Errorf("kept %q, error %v", kept, err)
			}
			if !d.Whole(all[0]) {
				t.Error("it was touched all the same")
			}
			release()
			s, err := d.Surveyed(t.Context())
			if err != nil || len(s.Holders) > 0 {
				t.Errorf("holders after the release: %v, %v", s.Holders, err)
			}
		})
	}
}

func TestHold_isSharedAndForEach(t *testing.T) {
	d, _ := scene(t)
	one, err := d.Hold(t.Context(), HeldCommit(first), "engine m/0")
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.Hold(t.Context(), HeldCommit(first), "engine m/0") // the next agent takes it before the last one is gone
	if err != nil {
		t.Fatal(err)
	}
	one()
	_, kept, err := Remover{}.Unit(t.Context(), d, first, "gguf-a", nil)
	if kept != "in use by engine m/0" || err != nil {
		t.Errorf("kept %q, error %v", kept, err)
	}
	again()
}

func TestRemove_skipsAContentThatIsLocked(t *testing.T) {
	d, all := scene(t)
	only := all[0].Files[2]
	unlock, err := LockFile(t.Context(), d.Lock(only.Hash), func() {})
	if err != nil {
		t.Fatal(err)
	}
	if _, kept, err := (Remover{}).Unit(t.Context(), d, first, "gguf-a", nil); err != nil || kept != "" {
		t.Fatal(kept, err)
	}
	if _, err := os.Stat(d.Blob(only.Hash)); err != nil {
		t.Errorf("the content that is being written is gone: %v", err)
	}
	unlock()
	s, err := d.Surveyed(t.Context())
	if err != nil || s.Loose()[only.Hex] != LooseContent {
		t.Errorf("it is not found as loose: %v, %v", s.Loose(), err)
	}
}

// TestRemove_keepsNamesOfOthers: what the hub's own client put into the same snapshot stays, with the snapshot, its revision and its contents.
func TestRemove_keepsNamesOfOthers(t *testing.T) {
	d := NewDir(Root(t.TempDir()), "org/model")
	r := put(t, d, first, "gguf-a", "main", "a.gguf", "A", "both.json", "X")
	theirs := strings.Repeat("ab", 32)
	write(t, filepath.Join(d.Blobs(), theirs), "T")
	if err := os.Symlink("../../blobs/"+theirs, filepath.Join(d.Snapshot(first), "theirs.bin")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../blobs/"+r.Files[1].Hex, filepath.Join(d.Snapshot(first), "copy.json")); err != nil {
		t.Fatal(err)
	}
	if _, kept, err := (Remover{}).Unit(t.Context(), d, first, "gguf-a", nil); err != nil || kept != "" {
		t.Fatal(kept, err)
	}
	sound(t, d)
	want := []string{"blobs/" + r.Files[1].Hex, "blobs/" + theirs, "refs/main", "snapshots/" + first + "/copy.json", "snapshots/" + first + "/theirs.bin"}
	got := files(t, d.Path())
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
	s, err := d.Surveyed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if u := s.Units(); len(u) != 1 || u[0].Selection != "" || len(u[0].Contents) != 2 {
		t.Errorf("units %+v", u)
	}
}

// TestRemove_keepsWhatARecordOfALaterVersionNeeds: a record that cannot be read keeps its snapshot's contents, by its links.
func TestRemove_keepsWhatARecordOfALaterVersionNeeds(t *testing.T) {
	d, all := scene(t)
	newer := all[2]
	newer.Version = RecordVersion + 1
	if err := disk.WriteJSON(d.RecordFile(newer.Commit, newer.Selection), newer, false); err != nil {
		t.Fatal(err)
	}
	if _, kept, err := (Remover{}).Unit(t.Context(), d, first, "gguf-a", nil); err != nil || kept != "" {
		t.Fatal(kept, err)
	}
	all[2].Version = RecordVersion
	if !d.Whole(all[2]) {
		t.Error("its contents are gone")
	}
}

func TestRemove_freesWhatItSays(t *testing.T) {
	d := NewDir(Root(t.TempDir()), "org/model")
	r := put(t, d, first, "gguf-a", "main", "a.gguf", strings.Repeat("A", 100_000), "linked.bin", strings.Repeat("L", 50_000))
	if err := os.Link(d.Blob(r.Files[1].Hash), filepath.Join(string(d.Root), "elsewhere")); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(d.Blob(r.Files[0].Hash))
	if err != nil {
		t.Fatal(err)
	}
	freed, _, err := Remover{}.Unit(t.Context(), d, first, "gguf-a", nil)
	if want := disk.Allocated(fi); err != nil || freed != want {
		t.Errorf("freed %d, error %v, want %d: a file with another name frees nothing", freed, err, want)
	}
}

func TestVerify_findsAndMarksDamage(t *testing.T) {
	d, all := scene(t)
	bad := all[0].Files[0]
	if err := os.WriteFile(d.Blob(bad.Hash), []byte("Z"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := d.SetSeal(bad.Hash); err != nil { // as if it had rotted under its seal
		t.Fatal(err)
	}
	gone := all[0].Files[2]
	if err := os.Remove(d.Blob(gone.Hash)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(d.Blob(all[1].Files[0].Hash), time.Time{}, time.UnixMilli(1e12)); err != nil {
		t.Fatal(err)
	}
	s, err := d.Surveyed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names, _ := s.Contents()
	faults := map[string]string{}
	for c, name := range names {
		got, err := d.Verify(t.Context(), s, c, func(int) {})
		if err != nil {
			t.Fatal(err)
		}
		faults[name] = got.Fault
	}
	if !strings.HasPrefix(faults["a.gguf"], "its sha256 is ") || faults["deep/er/only.txt"] != "it is missing" || faults["c.gguf"] != "" || faults["b.bin"] != "" {
		t.Errorf("faults: %q", faults)
	}
	if d.Sealed(bad) || d.Whole(all[0]) {
		t.Error("the damaged file is still taken for good")
	}
	if _, err := os.Stat(d.Blob(bad.Hash)); err != nil {
		t.Error("the damaged file was deleted: an engine may have it open")
	}
	if !d.Whole(all[1]) {
		t.Error("a file that was only touched is not sealed anew")
	}
}

func TestVerify_endsWhenAskedTo(t *testing.T) {
	d, all := scene(t)
	s, err := d.Surveyed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Verify(ctx, s, all[0].Files[0].Hex, func(int) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if !d.Whole(all[0]) {
		t.Error("what was not read is marked as damaged")
	}
}

func TestAt(t *testing.T) {
	for path, want := range map[string]Held{
		"/m/hub/models--org--model/snapshots/" + first + "/sub/a.gguf": HeldCommit(first),
		"/m/hub/models--org--model/snapshots/" + first:                 HeldCommit(first),
		"/m/hub/models--org--model/blobs/" + strings.Repeat("0", 64):   "blob-" + Held(strings.Repeat("0", 64)),
		"/m/hub/models--org--model/snapshots/main/a.gguf":              "",
		"/m/org/model/a.gguf": "",
		"/m/hub/models--org--model/../models--org--model/snapshots/" + first + "/": HeldCommit(first),
	} {
		d, got, ok := At(path)
		if got != want || ok != (want != "") || ok && d != (Dir{"/m", "org--model"}) {
			t.Errorf("%s: %v %q %v", path, d, got, ok)
		}
	}
}
