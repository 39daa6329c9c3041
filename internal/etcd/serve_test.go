package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/store"
)

func TestSocketPath(t *testing.T) {
	t.Parallel()
	short := t.TempDir()
	if got, err := SocketPath(short); err != nil || got != filepath.Join(short, "etcd.sock") {
		t.Errorf("short: %q, %v", got, err)
	}
	for _, name := range []string{strings.Repeat("long/", 30) + "x", "with a blank", "a,b=c", "ünï", "100%41"} {
		dir := filepath.Join(short, name)
		t.Cleanup(func() { removeShort(t, dir) })
		got, err := SocketPath(dir)
		if err != nil || !fitsSocket(got) || strings.HasPrefix(got, dir) {
			t.Errorf("%s: %q, %v", name, got, err)
			continue
		}
		if info, err := os.Stat(filepath.Dir(got)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
		if again, err := SocketPath(dir); err != nil || again != got {
			t.Errorf("%s: %q is not %q: %v", name, again, got, err)
		}
	}
}

// removeShort removes the directory that SocketPath made outside of the test's own.
func removeShort(t *testing.T, dir string) {
	path, err := SocketPath(dir)
	if err != nil || strings.HasPrefix(path, dir) {
		t.Errorf("%q, %v", path, err)
		return
	}
	_ = os.RemoveAll(filepath.Dir(path))
}

func TestPrivateDir_refusesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link, file := filepath.Join(dir, "link"), filepath.Join(dir, "file")
	if err := errors.Join(os.Symlink("/tmp", link), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, file} {
		if err := privateDir(path); err == nil {
			t.Errorf("%s was accepted", path)
		}
	}
	open := filepath.Join(dir, "open")
	if err := errors.Join(os.Mkdir(open, 0o777), privateDir(open)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(open); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(open, 12345, -1); err != nil {
			t.Fatal(err)
		}
		if err := privateDir(open); err == nil {
			t.Error("another user's directory was accepted")
		}
	}
}

func TestServe_longPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("a long way down/", 12))
	t.Cleanup(func() { removeShort(t, dir) })
	c := dial(t, inProcess(t, dir), "")
	mustPut(t, c, "/k", "v")
}

// TestServe_private checks that only a socket in a private directory is open.
func TestServe_private(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	endpoint := inProcess(t, dir)
	if endpoint != "unix://"+dir+"/etcd.sock" {
		t.Errorf("endpoint %s", endpoint)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	for _, socket := range listeners(t) {
		if !strings.HasPrefix(socket, os.TempDir()) {
			t.Errorf("a listener that others can reach: %s", socket)
		}
	}
}

// listeners returns the names of all sockets on which this process listens; abstract ones begin with "@".
func listeners(t *testing.T) []string {
	t.Helper()
	ours := map[string]bool{}
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(fds) == 0 {
		t.Fatalf("no open files: %v", err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil {
			ours[to] = true
		}
	}
	var names []string
	for _, table := range []struct {
		file               string
		state, inode, name int
		listening          string
	}{
		{"/proc/net/unix", 3, 6, 7, "00010000"},
		{"/proc/net/tcp", 3, 9, 1, "0A"},
		{"/proc/net/tcp6", 3, 9, 1, "0A"},
	} {
		text, err := os.ReadFile(table.file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > table.name && len(f) > table.inode && f[table.state] == table.listening && ours["socket:["+f[table.inode]+"]"] {
				names = append(names, f[table.name])
			}
		}
	}
	return names
}

func TestServe_parentGoneBeforeItStarts(t *testing.T) {
	t.Parallel()
	if err := Serve(t.Context(), ServeConfig{Dir: t.TempDir(), Parent: strings.NewReader("")}); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestServe_cannotMakeDirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, report := io.Pipe()
	go func() { _ = Serve(context.Background(), ServeConfig{Dir: filepath.Join(file, "x"), Report: report}) }()
	if r := readReport(t, out); !strings.Contains(r.Error, "not a directory") || r.Kind != "" {
		t.Errorf("got %+v", r)
	}
}

// TestLockDir waits for a holder that is about to end, and not for one that lives.
func TestLockDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lock, err := lockDir(t.Context(), dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(t.Context(), dir, 0); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v", err)
	}
	// From here on it looks as if the parent of the holder were gone.
	if err := os.WriteFile(filepath.Join(dir, "lock"), []byte("77 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, func() { _ = lock.Close() })
	second, err := lockDir(t.Context(), dir, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := lockDir(ctx, dir, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// TestServe_damaged damages the files of a store in many ways. None may be served as if nothing had happened, and each
// must be one clear sentence.
func TestServe_damaged(t *testing.T) {
	t.Parallel()
	good := t.TempDir()
	func() {
		s, err := Supervise(t.Context(), childConfig(good, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Stop()
		c := dialWhenUp(t, good)
		defer func() { _ = c.Close() }()
		for i := range 60 {
			mustPut(t, c, "/k/"+strings.Repeat("x", i), string(make([]byte, 4000)))
		}
		if err := c.Defragment(t.Context()); err != nil { // also writes everything to the file
			t.Fatal(err)
		}
	}()
	if err := checkData(filepath.Join(good, "data"), time.Minute); err != nil {
		t.Fatalf("a sound store: %v", err)
	}
	for name, damage := range map[string]func(data string) error{
		"no header":      func(data string) error { return scribble(data, 0, 3*4096) },
		"pages":          func(data string) error { return scribble(data, 5*4096, 1<<30) },
		"cut short":      func(data string) error { return os.Truncate(dbFile(data), 6*4096) },
		"empty":          func(data string) error { return os.Truncate(dbFile(data), 100) },
		"log is missing": func(data string) error { return os.RemoveAll(filepath.Join(data, "member", "wal")) },
		"log is empty":   func(data string) error { return eachLog(data, func(path string) error { return os.Truncate(path, 0) }) },
		"log is cut": func(data string) error {
			return eachLog(data, func(path string) error { return os.Truncate(path, 100) })
		},
		"log is noise": func(data string) error {
			return eachLog(data, func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("noise"), 1<<18), 0o600) })
		},
		"log begins later": func(data string) error {
			return eachLog(data, func(path string) error {
				return os.Rename(path, filepath.Join(filepath.Dir(path), "0000000000000001-0000000000010000.wal"))
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			data := filepath.Join(dir, "data")
			if err := errors.Join(os.CopyFS(data, os.DirFS(filepath.Join(good, "data"))), damage(data)); err != nil {
				t.Fatal(err)
			}
			log, _ := newLog(t)
			_, err := Supervise(t.Context(), childConfig(dir, log))
			if !errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "backup") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestSupervise_damagedLog damages what checkData does not read: etcd itself finds it, and says so.
func TestSupervise_damagedLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := supervise(t, dir)
	mustPut(t, dial(t, s.Endpoint(), ""), "/k", strings.Repeat("marker", 100))
	s.Stop()
	logs, err := filepath.Glob(filepath.Join(dir, "data", "member", "wal", "*.wal"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("%v, %v", logs, err)
	}
	text, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(logs[0], bytes.Replace(text, []byte("markermarker"), []byte("markedmarker"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	log, _ := newLog(t)
	if _, err := Supervise(t.Context(), childConfig(dir, log)); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "crc mismatch") {
		t.Errorf("got %v", err)
	}
}

// eachLog does something to all files of the log.
func eachLog(data string, do func(path string) error) error {
	logs, err := filepath.Glob(filepath.Join(data, "member", "wal", "*.wal"))
	if err != nil || len(logs) == 0 {
		return fmt.Errorf("no log: %w", err)
	}
	var errs []error
	for _, path := range logs {
		errs = append(errs, do(path))
	}
	return errors.Join(errs...)
}

func dbFile(data string) string { return filepath.Join(data, "member", "snap", "db") }

// scribble overwrites a part of the database.
func scribble(data string, from, to int64) error {
	f, err := os.OpenFile(dbFile(data), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for at := from; at < min(to, info.Size()); at += 512 {
		if _, err := f.WriteAt([]byte(strings.Repeat("\xa5", 512)), at); err != nil {
			return err
		}
	}
	return f.Close()
}

// TestSupervisor_diskFull fills the disk below the store: the child dies, this process lives, and with space again
// everything that was acknowledged is there.
func TestSupervisor_diskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=140m"); err != nil {
		t.Skipf("needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		eventually(t, "unmount", func() bool { return syscall.Unmount(dir, 0) == nil })
	})
	s, lines := supervise(t, dir)
	c := dial(t, s.Endpoint(), "")
	mustPut(t, c, "/before", "kept")
	filler := filepath.Join(dir, "filler")
	if err := fill(filler); err == nil {
		t.Fatal("the disk does not get full")
	}
	acked := 0
	pid := s.PID()
	for i := 0; s.PID() == pid && i < 2000; i++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := c.Txn(ctx, nil, []store.Op{put("/n", string(make([]byte, 500_000))), put("/i", strings.Repeat("x", i))}); err == nil {
			acked = i
		}
		cancel()
	}
	if s.PID() == pid {
		t.Fatal("the child survived a full disk: the test proves nothing")
	}
	lines.await("store process ended, starting it again")
	lines.await("no space left on device")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	eventually(t, "healthy store", func() bool { return c.Health(t.Context()) == nil })
	kvs, _, err := c.List(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range kvs {
		if kv.Key == "/i" && len(kv.Value) < acked {
			t.Errorf("%d was acknowledged, %d is stored", acked, len(kv.Value))
		}
	}
	if len(kvs) == 0 || kvs[0].Key != "/before" {
		t.Errorf("the first write is gone: %d keys", len(kvs))
	}
}

// fill writes until the disk is full.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	return errors.Join(err, f.Close())
}
