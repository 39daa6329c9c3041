package etcd

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
)

// maxSocket is how long the path of a unix socket may be here: Linux takes 107 bytes, others 103.
const maxSocket = 100

// plainPath holds no byte that means something in a URL or in gRPC's target names.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9/._+-]*$`)

// SocketPath returns where the server of the store directory dir listens: in dir itself, or, where that path is too
// long or too odd for a socket's name, in a short directory of its own, which it makes. In both the directory is
// this user's alone.
func SocketPath(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("socket of the store: %w", err)
	}
	if path := filepath.Join(abs, "etcd.sock"); fitsSocket(path) {
		return path, nil
	}
	name := fmt.Sprintf("nebula-%d-%.8x", os.Geteuid(), sha256.Sum256([]byte(abs)))
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		short := filepath.Join(parent, name)
		path := filepath.Join(short, "etcd.sock")
		if !fitsSocket(path) {
			continue
		}
		if err := privateDir(short); err != nil {
			return "", fmt.Errorf("socket of the store: %w", err)
		}
		return path, nil
	}
	return "", fmt.Errorf("socket of the store: no directory with a path short enough for %q", dir)
}

func fitsSocket(path string) bool { return len(path) <= maxSocket && plainPath.MatchString(path) }

// privateDir makes a directory that only this user can enter. One that exists must be this user's own: in a shared
// place like /tmp anybody may have made it first.
func privateDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not a directory of this user: remove it", dir)
	}
	return os.Chmod(dir, 0o700)
}
