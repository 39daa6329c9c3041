package etcd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"
)

// ErrDamaged says that the store's files cannot be read as what they should be.
var ErrDamaged = errors.New("store is damaged")

// restoreHint is the next step after damage.
const restoreHint = "restore the directory from a backup: nebula admin restore FILE"

// checkBudget bounds the time spent on reading the database before each start.
const checkBudget = 2 * time.Second

// checkData looks for damage below etcd's data directory before etcd does: etcd would end the process with a stack
// trace from a goroutine where nobody can catch it. It reads as much of the database as the time allows and
// changes nothing.
func checkData(data string, budget time.Duration) error {
	db := filepath.Join(data, "member", "snap", "db")
	if _, err := os.Stat(db); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("look at the store's database: %w", err)
	}
	applied, err := readDB(db, time.Now().Add(budget))
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return fmt.Errorf("%w: another process has %s open", ErrInUse, db)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("read the store's database: %w", err)
	case err != nil:
		return fmt.Errorf("%w: %s: %w; %s; without one, move the directory away to begin with an empty store", ErrDamaged, db, err, restoreHint)
	}
	logs, err := filepath.Glob(filepath.Join(data, "member", "wal", "*.wal"))
	if err != nil {
		return fmt.Errorf("look at the store's log: %w", err)
	}
	switch {
	case applied == 0: // it may have died in its first moment
		return nil
	case len(logs) == 0:
		return fmt.Errorf("%w: the log that belongs to %s is missing; %s", ErrDamaged, db, restoreHint)
	}
	last, err := readLog(filepath.Dir(logs[0]))
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("read the store's log: %w", err)
	case err == nil && last < applied:
		err = fmt.Errorf("it ends at entry %d, the database is at %d", last, applied)
	}
	if err != nil {
		return fmt.Errorf("%w: the log in %s: %w; %s", ErrDamaged, filepath.Dir(logs[0]), err, restoreHint)
	}
	return nil
}

// readLog reads the log through and returns the index of its last entry. A torn end is in order: etcd cuts it off, and what is not whole was
// never acknowledged. But everything in the database was in the log first.
func readLog(dir string) (last uint64, err error) {
	defer func() { // etcd's reader trusts what it reads
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	nowhere := zap.NewNop()
	snapshots, err := wal.ValidSnapshotEntries(nowhere, dir)
	if err != nil {
		return 0, err
	}
	newest := &walpb.Snapshot{}
	if len(snapshots) > 0 {
		newest = snapshots[len(snapshots)-1]
	}
	log, err := wal.OpenForRead(nowhere, dir, newest)
	if err != nil {
		return 0, err
	}
	_, _, entries, err := log.ReadAll()
	_ = log.Close() // a log that was opened for reading always says that its directory is not open
	if err != nil {
		return 0, err
	}
	if len(entries) > 0 {
		return entries[len(entries)-1].GetIndex(), nil
	}
	return newest.GetIndex(), nil
}

// readDB reads all pages of a database, or those that it can until the deadline, and returns the index of the log
// entry that it has come to.
func readDB(path string, deadline time.Time) (applied uint64, err error) {
	// A file that is shorter than its pages say faults on access; a wrong page makes bbolt panic.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return 0, err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		if meta := tx.Bucket([]byte("meta")); meta != nil {
			if v := meta.Get([]byte("consistent_index")); len(v) == 8 {
				applied = binary.BigEndian.Uint64(v)
			}
		}
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			n := 0
			return b.ForEach(func(_, v []byte) error {
				if n++; n%1000 == 0 && time.Now().After(deadline) {
					return errEnough
				}
				if len(v) > 0 {
					_ = v[len(v)-1] // touches the last page of a long value
				}
				return nil
			})
		})
	})
	// After a panic in View the file stays open, because Close would wait for View; the process is about to end then.
	if errors.Is(err, errEnough) {
		err = nil
	}
	return applied, errors.Join(err, db.Close())
}

var errEnough = errors.New("time is up")
