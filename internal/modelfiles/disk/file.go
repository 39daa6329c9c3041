package disk

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// WriteJSON replaces a small file at once: a reader sees the old one or the new one; if durable, after a power failure
// too.
func WriteJSON(name string, v any, durable bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if durable {
		err = errors.Join(err, f.Sync())
	}
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, Remove(f.Name()))
	}
	return nil
}

// Remove deletes files that may be gone already.
func Remove(paths ...string) error {
	var errs []error
	for _, p := range paths {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// ReadJSON reads a small file; one that is no JSON is fs.ErrInvalid.
func ReadJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return errors.Join(fs.ErrInvalid, err)
	}
	return nil
}

// SyncDir makes the names in a folder outlast a power failure.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Explain says for people what a failure of the disk under root means; nil stays nil, and so does a context's end.
func Explain(root, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		free := "nothing"
		if s, err := Measure(root); err == nil {
			free = fail.Size(s.Available)
			if s.Files > 0 && s.FreeFiles == 0 {
				free += ", but no inode"
			}
		}
		return fail.Passing(api.FailDiskFull, fail.DiskSpace, "the disk of %s is full (%s left). What was fetched is kept; free some space and the download goes on.", root, free).Because(err)
	}
	return fail.Passing(api.FailDownload, fail.Disk, "cannot %s under %s: %v. Check that Nebula may write there.", what, root, err).Because(err)
}
