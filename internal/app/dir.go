package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"github.com/nebula-serve/nebula/internal/auth"
)

// Files in a data directory, beside auth.TokenFile and the folders of the parts.
const (
	lockFile   = "nebula.lock"
	serverFile = "server.addr"
)

// InUseError says that another nebula works on the data directory.
type InUseError struct{ Dir, Holder string }

// Error says who and what to do.
func (e *InUseError) Error() string {
	return fmt.Sprintf("another nebula works on %s (%s): use that one, stop it, or give another --data-dir", e.Dir, e.Holder)
}

// lockDir makes the data directory private and ours alone, until the returned function is called.
func lockDir(dir string) (release func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	path := filepath.Join(dir, lockFile)
	lock := flock.New(path, flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if !ok {
		holder := "its process is not known"
		if b, err := os.ReadFile(path); err == nil && len(b) > 0 {
			holder = strings.TrimSpace(string(b))
		}
		return nil, &InUseError{dir, holder}
	}
	// The lock is on the file itself, so it is written in place and never replaced.
	if err := os.WriteFile(path, fmt.Appendf(nil, "process %d\n", os.Getpid()), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("write the lock: %w", err), lock.Unlock())
	}
	return lock.Unlock, nil
}

// ServerAddress returns the URL of the server that uses a data directory on this machine; empty when there is none.
func ServerAddress(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, serverFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// ClusterCA returns the file with the authority of the cluster whose server a data directory on this machine is of; empty when there is none.
func ClusterCA(dir string) string {
	path := filepath.Join(Options{DataDir: dir}.keyDir(""), clusterCA+".crt")
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// LocalToken returns the admin credential of a data directory on this machine; fs.ErrNotExist when there is none.
func LocalToken(dir string) (string, error) {
	return auth.ReadToken(filepath.Join(dir, auth.TokenFile))
}

// LocalSetup reads the setup token in a data directory.
func LocalSetup(dir string) (string, error) {
	return auth.ReadToken(filepath.Join(dir, auth.SetupFile))
}

func writeServerAddress(dir, url string) error {
	if err := renameio.WriteFile(filepath.Join(dir, serverFile), []byte(url+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the server's address: %w", err)
	}
	return nil
}

// removeServerAddress forgets the address, so that nobody sends a credential to whoever has the port next.
func removeServerAddress(dir string) error {
	if err := os.Remove(filepath.Join(dir, serverFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the server's address: %w", err)
	}
	return nil
}
