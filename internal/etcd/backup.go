package etcd

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// Snapshot writes a backup of the whole store, as of one revision: etcd's own format, a database file and the SHA-256 of it. Whoever
// keeps it calls [CheckBackup] on the file; after an error what has been written is worth nothing.
func (c *Client) Snapshot(ctx context.Context, to io.Writer) error {
	e := c.era.Load()
	ctx, cancel := e.bind(ctx)
	defer cancel()
	from, err := e.etcd.Snapshot(ctx)
	if err == nil {
		_, err = io.Copy(to, from)
		err = errors.Join(err, from.Close())
	}
	if err != nil {
		return fmt.Errorf("backup of the store: %w", readError(err))
	}
	return nil
}

// page size of a database file: a backup is whole pages and a hash.
const dbPage = 512

// ErrBackup says that a backup cannot be restored: it is not what was saved.
var ErrBackup = errors.New("the backup is damaged")

// CheckBackup reads a backup through and returns ErrBackup (wrapped) unless it is complete and unchanged.
func CheckBackup(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	size := info.Size() - sha256.Size
	if !info.Mode().IsRegular() || size <= 0 || size%dbPage != 0 {
		return fmt.Errorf("%w: %s is not a complete backup: take another one", ErrBackup, path)
	}
	h, want := sha256.New(), make([]byte, sha256.Size)
	if _, err = io.CopyN(h, f, size); err == nil {
		_, err = io.ReadFull(f, want)
	}
	if err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	if !bytes.Equal(h.Sum(nil), want) {
		return fmt.Errorf("%w: %s is not what was saved, its checksum does not hold: take another one", ErrBackup, path)
	}
	if _, err := readDB(path, time.Now().Add(backupBudget)); err != nil {
		return fmt.Errorf("%w: %s is not a database of the store: %w; take another one", ErrBackup, path, err)
	}
	return nil
}

// backupBudget bounds the time spent on reading a backup's pages, beyond its checksum.
const backupBudget = 30 * time.Second

const (
	// revisionBump is how far a restored store begins beyond the revision of its backup: farther than the store that is lost can have
	// come since, so that no revision comes twice with another meaning. Nobody can watch from before it.
	revisionBump = 1_000_000_000
	// restoreQuota leaves room for the changes that a restore makes, also when the backup is one of a store that was full.
	restoreQuota = 64 << 30
)

// RestoreConfig says what to restore. All but Log is required.
type RestoreConfig struct {
	File string // a backup
	Dir  string // the store directory, of which no server is running
	// Edit changes what has to change before anybody can read the store.
	Edit func(context.Context, *Client) error
	Log  *slog.Logger
}

// Restore puts the store of a backup in the place of that in the directory, as a single member, and returns where the former data is
// now; empty when there was none. Revisions go on from far above those of the backup, and begin a history of their own: an old member
// of the cluster is no member of this one. Until the last step, which is a rename, the directory is as it was.
//
// ErrInUse: a server runs there. ErrBackup: the backup is not what was saved.
func Restore(ctx context.Context, cfg RestoreConfig) (aside string, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := CheckBackup(cfg.File); err != nil {
		return "", err
	}
	if err := prepare(cfg.Dir); err != nil {
		return "", err
	}
	lock, err := lockDir(ctx, cfg.Dir, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	stage := filepath.Join(cfg.Dir, "data.restoring")
	if err := os.RemoveAll(stage); err != nil { // of a restore that was killed
		return "", fmt.Errorf("restore: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	err = snapshot.NewV3(zap.New(zapCore{to: cfg.Log.Handler(), level: onlyDebug})).Restore(snapshot.RestoreConfig{
		SnapshotPath: cfg.File, OutputDataDir: stage, Name: memberName, PeerURLs: []string{peerURL}, InitialCluster: memberName + "=" + peerURL,
		InitialClusterToken: "nebula-" + rand.Text(), RevisionBump: revisionBump, MarkCompacted: true,
	})
	if err != nil {
		return "", fmt.Errorf("%w: %s cannot be restored: %w", ErrBackup, cfg.File, err)
	}
	if err := edit(ctx, cfg, stage); err != nil {
		return "", err
	}
	return replaceData(filepath.Join(cfg.Dir, "data"), stage, cfg.Dir)
}

// edit runs the server on the restored data for one caller. Nobody else may: the lock of the directory is ours.
func edit(ctx context.Context, cfg RestoreConfig, data string) error {
	socket, err := SocketPath(cfg.Dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	ready, report := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, ServeConfig{Dir: cfg.Dir, QuotaBytes: restoreQuota, Report: report, Log: cfg.Log}, data, socket)
		_ = report.CloseWithError(errors.New("it ended"))
		ended <- err
	}()
	_, err = ready.Read(make([]byte, 4096)) // one report, which is written at once
	if err == nil {
		err = editAt(ctx, "unix://"+socket, cfg)
	}
	cancel()
	if endErr := <-ended; endErr != nil {
		err = endErr // which is why the rest failed
	}
	if err != nil {
		return fmt.Errorf("start the restored store: %w", err)
	}
	return nil
}

func editAt(ctx context.Context, endpoint string, cfg RestoreConfig) error {
	c, err := Dial(ctx, Config{Endpoints: []string{endpoint}, Log: cfg.Log})
	if err != nil {
		return err
	}
	err = c.Disarm(ctx) // a backup of a full store says that it is full
	if err == nil {
		err = cfg.Edit(ctx, c)
	}
	return errors.Join(err, c.Close())
}

// replaceData moves the former data aside, beside dir, and the new data in.
func replaceData(data, stage, dir string) (aside string, err error) {
	if _, err := os.Stat(data); err == nil {
		for n := 1; ; n++ {
			aside = fmt.Sprintf("%s.before-restore-%d", filepath.Clean(dir), n)
			if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
				break
			}
		}
		if err := os.Rename(data, aside); err != nil {
			return "", fmt.Errorf("put the former data aside: %w", err)
		}
	}
	if err := os.Rename(stage, data); err != nil {
		return aside, fmt.Errorf("put the restored data in place: %w", err)
	}
	return aside, syncDir(dir)
}

// syncDir makes renames in a directory outlast a power cut.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return errors.Join(f.Sync(), f.Close())
}
