package app

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/etcd"
)

func TestStoreStatus(t *testing.T) {
	voter := func(name string, s *etcd.Status) etcd.MemberStatus {
		m := etcd.MemberStatus{Member: etcd.Member{ID: name, Name: name, PeerURLs: []string{"https://" + name}}}
		if s != nil {
			m.Answers, m.Status = true, *s
		}
		return m
	}
	leader := &etcd.Status{Leader: true, Bytes: 50, InUse: 20, QuotaBytes: 100, Revision: 9}
	other := &etcd.Status{Bytes: 40, InUse: 30, QuotaBytes: 100, Revision: 8}
	learner := voter("c", other)
	learner.Learner = true
	for name, c := range map[string]struct {
		members []etcd.MemberStatus
		next    string
	}{
		"well":     {[]etcd.MemberStatus{voter("a", leader), voter("b", other), learner}, ""},
		"silent":   {[]etcd.MemberStatus{voter("a", leader), voter("b", nil)}, "bring the silent member back"},
		"full":     {[]etcd.MemberStatus{voter("a", leader), voter("b", &etcd.Status{Full: true})}, "nebula admin reclaim"},
		"headless": {[]etcd.MemberStatus{voter("a", other), voter("b", nil)}, "nebula admin restore"},
	} {
		got := storeStatus(c.members)
		if (got.Next == "") != (c.next == "") || !strings.Contains(got.Next, c.next) || len(got.Members) != len(c.members) {
			t.Errorf("%s: %+v", name, got)
		}
		if name == "well" && (got.Bytes != 50 || got.InUseBytes != 20 || got.Revision != 9 || !got.Leader || got.Members[0].Role != api.StoreLeader ||
			got.Members[1].Role != api.StoreVoter || got.Members[2].Role != api.StoreLearner) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// sealed is a file of a backup's shape: pages and their hash.
func sealed(pages []byte) []byte {
	sum := sha256.Sum256(pages)
	return append(slices.Clone(pages), sum[:]...)
}

// whole is a backup: an empty database, and its hash.
func whole(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	pages, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sealed(pages)
}

func TestSaveBackup(t *testing.T) {
	dir := t.TempDir()
	path, backup := filepath.Join(dir, "backup"), whole(t)
	full := func(w io.Writer) error { _, err := w.Write(backup); return err }
	n, err := SaveBackup(path, false, full)
	if err != nil || n != int64(len(backup)) {
		t.Fatalf("got %d, %v", n, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := SaveBackup(path, false, full); !api.HasCode(err, api.CodeConflict) || !strings.Contains(err.Error(), "--force") {
		t.Errorf("onto one that exists: %v", err)
	}
	broke := errors.New("broke off")
	for name, fetch := range map[string]func(io.Writer) error{
		"an error": func(w io.Writer) error { _, _ = w.Write(backup[:100]); return broke },
		"a part":   func(w io.Writer) error { _, err := w.Write(backup[:1000]); return err },
	} {
		if _, err := SaveBackup(path, true, fetch); !errors.Is(err, broke) && !errors.Is(err, etcd.ErrBackup) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, backup) {
			t.Errorf("%s: the former backup is gone: %v", name, err)
		}
	}
	if _, err := SaveBackup(path, true, full); err != nil {
		t.Errorf("with force: %v", err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

func TestRestore_refusesAServerThatRuns(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(file, sealed(bytes.Repeat([]byte("page"), 1024)), 0o600); err != nil {
		t.Fatal(err)
	}
	release, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), file, dir, slog.New(slog.DiscardHandler)); !api.HasCode(err, api.CodeConflict) || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("got %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	// With a sound hash, but not a database.
	if _, err := Restore(t.Context(), file, dir, slog.New(slog.DiscardHandler)); !errors.Is(err, etcd.ErrBackup) {
		t.Errorf("got %v", err)
	}
}
