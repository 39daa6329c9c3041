package link

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/pki"
)

// Names of files in a link's directory.
const (
	snapshotFile = "desired.json"
	epochFile    = "epoch.json"
)

// snapshot is what a link knows of its node's wishes, as it is kept on disk for a start without servers.
type snapshot struct {
	Desired api.NodeDesired `json:"desired"` // as a server told it
	Held    []held          `json:"held,omitempty"`
	// HeldUnder is the history under which Held began.
	HeldUnder string `json:"held_under,omitempty"`
}

// signed is a document with the machine's own signature over exactly its bytes.
type signed struct {
	Document  []byte `json:"document"`
	Signature []byte `json:"signature"`
}

// loadSnapshot reads and checks a snapshot; fs.ErrNotExist (in the chain) when there is none.
func loadSnapshot(dir, nodeID string, cred *pki.Credential) (snapshot, error) {
	b, err := os.ReadFile(filepath.Join(dir, snapshotFile))
	if err != nil {
		return snapshot{}, err
	}
	var s signed
	if err := json.Unmarshal(b, &s); err != nil {
		return snapshot{}, fmt.Errorf("it is damaged: %w", err)
	}
	if !cred.Verify(s.Document, s.Signature) {
		return snapshot{}, errors.New("this machine has not signed it")
	}
	var out snapshot
	if err := json.Unmarshal(s.Document, &out); err != nil {
		return snapshot{}, fmt.Errorf("it cannot be read: %w", err)
	}
	if out.Desired.NodeID != nodeID {
		return snapshot{}, fmt.Errorf("it is for node %s", out.Desired.NodeID)
	}
	return out, nil
}

// saveSnapshot replaces the snapshot, as a whole or not at all. A purge is not kept: its wish may have ended by the next start, and what
// is gone is gone.
func saveSnapshot(dir string, s snapshot, cred *pki.Credential) error {
	s.Desired.CacheWishes = slices.DeleteFunc(slices.Clone(s.Desired.CacheWishes), func(w api.CacheWish) bool { return w.Kind == api.WishPurge })
	doc, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the snapshot: %w", err)
	}
	sig, err := cred.Sign(doc)
	if err != nil {
		return err
	}
	b, err := json.Marshal(signed{doc, sig})
	if err != nil {
		return fmt.Errorf("encode the snapshot: %w", err)
	}
	return renameio.WriteFile(filepath.Join(dir, snapshotFile), b, 0o600, renameio.IgnoreUmask())
}

// dropSnapshot removes the snapshot, which also works on a full disk.
func dropSnapshot(dir string) error {
	if err := os.Remove(filepath.Join(dir, snapshotFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the outdated copy: %w", err)
	}
	return nil
}

// nextEpoch returns a number larger than that of every earlier start, and keeps it before it is used. The clock is there for a machine
// that has lost its disk; a clock that has gone back does no harm.
func nextEpoch(dir string, now time.Time) (uint64, error) {
	path := filepath.Join(dir, epochFile)
	var last uint64
	switch b, err := os.ReadFile(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return 0, fmt.Errorf("read the number of the last start: %w", err)
	default:
		_ = json.Unmarshal(b, &last) // damaged: the clock will do
	}
	next := max(last+1, uint64(max(now.UnixMilli(), 0)))
	b, err := json.Marshal(next)
	if err != nil {
		return 0, err
	}
	if err := renameio.WriteFile(path, b, 0o600, renameio.IgnoreUmask()); err != nil {
		return 0, fmt.Errorf("keep the number of this start: %w", err)
	}
	return next, nil
}
