package link

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/pki"
)

// TestLink_keepsNoOutdatedSnapshot: when the newest set cannot be kept, the one before it goes. A start by that one would stop what was
// placed here since.
func TestLink_keepsNoOutdatedSnapshot(t *testing.T) {
	dir := t.TempDir()
	cred := credentialOf(t, "n1")
	l := &Link{cfg: Config{Dir: dir, NodeID: "n1", Credential: cred, Log: slog.New(slog.DiscardHandler)}}
	l.wish.snapshot = snapshot{Desired: set("h", true, 1, "a/0")}
	l.save()
	if _, err := loadSnapshot(dir, "n1", cred); err != nil || l.unsaved {
		t.Fatalf("kept: %v", err)
	}
	path := filepath.Join(dir, snapshotFile)
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil { // nothing can be written there, as on a full disk
		t.Fatal(err)
	}
	l.wish.snapshot = snapshot{Desired: set("h", true, 2, "a/0", "b/0")}
	l.save()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) || !l.unsaved {
		t.Errorf("what could not be replaced is still there: %v", err)
	}
	l.save() // the disk takes it again
	if s, err := loadSnapshot(dir, "n1", cred); err != nil || s.Desired.Revision != 2 || l.unsaved {
		t.Errorf("revision %d, %v", s.Desired.Revision, err)
	}
}

// TestSnapshot_keepsNoPurge: a node that starts without a server deletes nothing.
func TestSnapshot_keepsNoPurge(t *testing.T) {
	dir, cred := t.TempDir(), credentialOf(t, "n1")
	d := set("h", true, 1, "a/0")
	d.CacheWishes = []api.CacheWish{{NodeID: "n1", Kind: api.WishPurge}, {NodeID: "n1", Kind: api.WishPin}, {NodeID: "n1", Kind: api.WishPull}}
	if err := saveSnapshot(dir, snapshot{Desired: d}, cred); err != nil {
		t.Fatal(err)
	}
	s, err := loadSnapshot(dir, "n1", cred)
	if err != nil || len(s.Desired.CacheWishes) != 2 || s.Desired.CacheWishes[0].Kind != api.WishPin || len(d.CacheWishes) != 3 {
		t.Errorf("%+v, %v; want the pin and the pull", s.Desired.CacheWishes, err)
	}
}

func credentialOf(t *testing.T, id string) *pki.Credential {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(csr, pki.Identity{Cluster: "c", Role: api.MachineNode, ID: id}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cred, err := pki.NewCredential("", key, cert.Raw, ca.DER())
	if err != nil {
		t.Fatal(err)
	}
	return cred
}
