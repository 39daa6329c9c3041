package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/etcd"
	"github.com/nebula-serve/nebula/internal/store"
)

// storeAdmin words the store's upkeep for people: httpapi.StoreAdmin.
type storeAdmin struct{ kv *etcd.Client }

// Status implements httpapi.StoreAdmin.
func (a storeAdmin) Status(ctx context.Context) (api.StoreStatus, error) {
	members, err := a.kv.Overview(ctx)
	if err != nil {
		return api.StoreStatus{}, storeError(err)
	}
	return storeStatus(members), nil
}

// Backup implements httpapi.StoreAdmin.
func (a storeAdmin) Backup(ctx context.Context, to io.Writer) error {
	return storeError(a.kv.Snapshot(ctx, to))
}

// Compact implements httpapi.StoreAdmin.
func (a storeAdmin) Compact(ctx context.Context) error { return storeError(a.kv.CompactNow(ctx)) }

// Defragment implements httpapi.StoreAdmin.
func (a storeAdmin) Defragment(ctx context.Context) error { return storeError(a.kv.Defragment(ctx)) }

// Disarm implements httpapi.StoreAdmin.
func (a storeAdmin) Disarm(ctx context.Context) error { return storeError(a.kv.Disarm(ctx)) }

// Reclaim implements httpapi.StoreAdmin.
func (a storeAdmin) Reclaim(ctx context.Context) error {
	_, err := a.kv.Reclaim(ctx)
	return storeError(err)
}

func storeError(err error) error {
	switch {
	case errors.Is(err, etcd.ErrStillFull):
		return fmt.Errorf("%w: %w", api.Errorf(api.CodeUnavailable, "%s", err), err)
	case errors.Is(err, store.ErrUnavailable):
		return fmt.Errorf("%w: %w", api.Errorf(api.CodeUnavailable,
			"the store does not answer; models go on running: see nebula admin status, and the servers' logs"), err)
	}
	return err
}

// storeStatus sums the members up.
func storeStatus(members []etcd.MemberStatus) api.StoreStatus {
	out := api.StoreStatus{Members: []api.StoreMember{}}
	silent := 0
	for _, m := range members {
		row := api.StoreMember{
			ID: m.ID, Name: m.Name, Role: api.StoreVoter, Answers: m.Answers, Version: m.Status.Version, Revision: m.Status.Revision, RaftIndex: m.Status.RaftIndex,
			Bytes: m.Status.Bytes, InUseBytes: m.Status.InUse,
		}
		if len(m.PeerURLs) > 0 {
			row.PeerURL = m.PeerURLs[0]
		}
		switch {
		case m.Learner:
			row.Role = api.StoreLearner
		case m.Answers && m.Status.Leader:
			row.Role, out.Leader = api.StoreLeader, true
		}
		if !m.Answers {
			silent++
		}
		out.Full = out.Full || m.Status.Full
		out.Revision = max(out.Revision, m.Status.Revision)
		out.QuotaBytes = max(out.QuotaBytes, m.Status.QuotaBytes)
		if m.Status.Bytes >= out.Bytes {
			out.Bytes, out.InUseBytes = m.Status.Bytes, m.Status.InUse
		}
		out.Members = append(out.Members, row)
	}
	switch {
	case !out.Leader:
		out.Next = "too few members answer, so nothing can be changed: bring one back, or restore a backup: nebula admin restore --help"
	case out.Full:
		out.Next = "the store is full: remove what is not needed, then run nebula admin reclaim, or start the servers with a larger --etcd-quota"
	case silent > 0:
		out.Next = "bring the silent member back, or remove its server if it will not come back"
	}
	return out
}

// SaveBackup writes a file with what fetch writes, checked, for its owner alone. It is there as a whole or not at all. One that exists is
// replaced only with force.
func SaveBackup(path string, force bool, fetch func(io.Writer) error) (bytes int64, err error) {
	if _, err := os.Lstat(path); err == nil && !force {
		return 0, api.Errorf(api.CodeConflict, "%s exists: choose another name, or replace it with --force", path)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("look at %s: %w", path, err)
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o600), renameio.IgnoreUmask())
	if err != nil {
		return 0, fmt.Errorf("write the backup: %w", err)
	}
	defer func() { _ = f.Cleanup() }() // nothing is left to clean after success
	if err := fetch(f); err != nil {
		return 0, err
	}
	if err := etcd.CheckBackup(f.Name()); err != nil {
		return 0, fmt.Errorf("the backup did not arrive whole, and is not kept: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("write the backup: %w", err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return 0, fmt.Errorf("write the backup: %w", err)
	}
	return info.Size(), nil
}

// Restore puts a backup in the place of the store in a data directory of which no server runs, and returns where the former store is
// now; empty when there was none.
func Restore(ctx context.Context, file, dataDir string, log *slog.Logger) (aside string, err error) {
	release, err := lockDir(dataDir)
	if err != nil {
		if _, ok := errors.AsType[*InUseError](err); ok {
			err = api.Errorf(api.CodeConflict, "a server works on %s: stop it first, then restore", dataDir)
		}
		return "", err
	}
	defer func() { err = errors.Join(err, release()) }()
	aside, err = etcd.Restore(ctx, etcd.RestoreConfig{
		File: file, Dir: filepath.Join(dataDir, "etcd"), Log: log,
		Edit: func(ctx context.Context, kv *etcd.Client) error { return store.Restored(ctx, kv, time.Now()) },
	})
	if errors.Is(err, etcd.ErrInUse) {
		err = fmt.Errorf("%w: %w", api.Errorf(api.CodeConflict, "%s", err), err)
	}
	return aside, err
}
