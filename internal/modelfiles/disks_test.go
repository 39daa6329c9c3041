package modelfiles

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/test/hub"
)

// mountDisk mounts a disk of its own for a test, with options of tmpfs.
func mountDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("skipped: a disk for the test needs root")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func fill(t *testing.T, name string, n int) {
	t.Helper()
	if err := os.WriteFile(name, make([]byte, n), 0o644); err != nil {
		t.Fatal(err)
	}
}

func kinds(alerts []api.DiskAlert) string {
	var out []string
	for _, a := range alerts {
		out = append(out, a.AlertType)
	}
	return strings.Join(out, " ")
}

// TestLook_alerts: a full disk raises its alerts once, also for a node that was started again, and an emptied one clears them. A second disk counts too.
func TestLook_alerts(t *testing.T) {
	dir, other := mountDisk(t, "size=10m"), mountDisk(t, "size=10m")
	s := newStore(t, hub.Start(t, one("a.gguf", ggufFile(100, 1))), func(c *Config) { c.CacheDir = dir })
	look := func(want string) Storage {
		t.Helper()
		p, err := s.Look(t.Context(), nil)
		if err != nil || kinds(p.Alerts) != want {
			t.Fatalf("%+v %v, want %q", p.Alerts, err, want)
		}
		return p
	}
	look("")
	fill(t, filepath.Join(dir, "filler"), 9<<20)
	first := look("disk_warning")
	if again := look("disk_warning"); again.Alerts[0] != first.Alerts[0] {
		t.Errorf("%+v became %+v", first.Alerts, again.Alerts)
	}
	s = again(t, s)
	if after := look("disk_warning"); after.Alerts[0].CreatedAtMS != first.Alerts[0].CreatedAtMS {
		t.Errorf("after a restart %+v became %+v", first.Alerts, after.Alerts)
	}
	req := llama()
	req.Spec.ModelPath = other
	mustFetch(t, s, req, map[string][]byte{"a.gguf": ggufFile(100, 1)})
	look("disk_warning") // and the other root is remembered
	fill(t, filepath.Join(other, "filler"), 9<<20+700<<10)
	s = again(t, s)
	worst := look("disk_warning disk_critical").Alerts
	if worst[0].ModelDir != other || worst[1].ModelDir != other || !strings.Contains(worst[0].Message, "So is that of "+dir) || worst[0].CreatedAtMS != first.Alerts[0].CreatedAtMS {
		t.Errorf("%+v", worst)
	}
	deleteFile(t, filepath.Join(other, "filler"))
	look("disk_warning")
	deleteFile(t, filepath.Join(dir, "filler"))
	look("")
}

// TestFetch_criticalLine: what would make the disk critical is refused with the figure, before anything is asked for.
func TestFetch_criticalLine(t *testing.T) {
	h := hub.Start(t, one("a.gguf", ggufFile(9<<20+600<<10, 1)))
	s := newStore(t, h, func(c *Config) { c.CacheDir = mountDisk(t, "size=10m") })
	_, err := s.Fetch(t.Context(), llama(), nil)
	var short *disk.Short
	if e, ok := fail.As(err); !ok || e.Reason != fail.DiskSpace || e.Final || !strings.Contains(e.Message, "no download may take it to 95 %") || !errors.As(err, &short) || short.Bytes < 50<<10 || short.Bytes > 200<<10 {
		t.Errorf("%v", err)
	}
	if h.Sent() != 0 {
		t.Errorf("%d bytes were fetched", h.Sent())
	}
}

// TestFetch_noInodes: a disk that has space and no inodes is said to have none, before anything is asked for.
func TestFetch_noInodes(t *testing.T) {
	h := hub.Start(t, one("a.gguf", ggufFile(100, 1)))
	dir := mountDisk(t, "size=10m,nr_inodes=24")
	s := newStore(t, h, func(c *Config) { c.CacheDir = dir })
	for n := range strings.FieldsSeq("a b c d e f g h i j") {
		fill(t, filepath.Join(dir, n), 1)
	}
	_, err := s.Fetch(t.Context(), llama(), nil)
	if e, ok := fail.As(err); !ok || e.Reason != fail.DiskSpace || e.Final || !strings.Contains(e.Message, "inodes") {
		t.Errorf("%v", err)
	}
	if h.Sent() != 0 {
		t.Errorf("%d bytes were fetched", h.Sent())
	}
}

// TestLook_alertsNameModels: a full disk's alert names what could be deleted, once it is known what people want.
func TestLook_alertsNameModels(t *testing.T) {
	dir := mountDisk(t, "size=10m")
	s := newStore(t, hub.Start(t, one("a.gguf", ggufFile(1<<20, 1))), func(c *Config) { c.CacheDir = dir })
	mustFetch(t, s, llama(), map[string][]byte{"a.gguf": ggufFile(1<<20, 1)})
	s.SetPins(nil)
	s.SetWanted(nil)
	fill(t, filepath.Join(dir, "filler"), 8<<20)
	p, err := s.Look(t.Context(), nil)
	if err != nil || len(p.Alerts) != 1 || !strings.Contains(p.Alerts[0].Message, "Not in use: org/model (1.1 MB)") {
		t.Errorf("%+v %v", p.Alerts, err)
	}
}
