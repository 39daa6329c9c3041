package modelfiles

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// ready is Nebula's own record of a complete model: which files, at which commit. No other program can tell whether a
// part of a repository is complete. Its modification time is when the model was last used.
type ready struct {
	Version   int              `json:"version"`
	Repo      string           `json:"repo"`
	Revisions []string         `json:"revisions"` // that led to this commit when they were last asked for
	Commit    string           `json:"commit"`
	Selection string           `json:"selection"` // for whom the files were chosen
	Format    manifest.Format  `json:"format"`
	Primary   string           `json:"primary,omitempty"`
	MMProj    string           `json:"mmproj,omitempty"`
	Files     []manifest.Entry `json:"files"`
	CreatedMS int64            `json:"created_ms"`
	Metadata  Metadata         `json:"metadata"`
}

const readyVersion = 1

// selectionKey names what decides about the files besides the repository: the kind of engine and the patterns.
func selectionKey(w manifest.Want) string {
	kind := "folder"
	if w.Engine == api.EngineLlamaCPP {
		kind = "gguf"
	}
	sum := sha256.Sum256([]byte(kind + "\x00" + strings.Join(w.Patterns, "\x00")))
	return kind + "-" + hex.EncodeToString(sum[:6])
}

func (d repoDir) readyFile(commit, selection string) string {
	return filepath.Join(d.manifests(), commit+"-"+selection+".json")
}

// readies returns every record of the repository that makes sense, the newest first.
func (d repoDir) readies() []ready {
	names, err := filepath.Glob(filepath.Join(d.manifests(), "*.json"))
	if err != nil {
		return nil
	}
	var out []ready
	for _, n := range names {
		var r ready
		if readJSON(n, &r) == nil && r.sound() {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b ready) int { return cmp.Compare(b.CreatedMS, a.CreatedMS) })
	return out
}

// sound tells whether a record may be used: it is a file that anybody may have changed.
func (r *ready) sound() bool {
	if r.Version != readyVersion || !manifest.IsCommit(r.Commit) || len(r.Files) == 0 || manifest.CheckNames(r.Files) != nil {
		return false
	}
	for _, f := range r.Files {
		if !f.Valid() || f.Size < 0 {
			return false
		}
	}
	return (r.Primary == "" || manifest.Has(r.Files, r.Primary)) && (r.MMProj == "" || manifest.Has(r.Files, r.MMProj))
}

// find returns the record for a revision and a selection.
func (d repoDir) find(revision, selection string) (ready, bool) {
	for _, r := range d.readies() {
		if r.Selection == selection && (r.Commit == revision || slices.Contains(r.Revisions, revision)) {
			return r, true
		}
	}
	return ready{}, false
}

// whole tells by looking at the files, not into them, whether everything is there and unchanged since verified.
func (d repoDir) whole(r ready) bool {
	return !slices.ContainsFunc(r.Files, func(f manifest.Entry) bool { return !d.sealed(f) }) && d.linked(r.Commit, r.Files)
}

// record writes that the model is complete. A revision that moved here is taken from the records it led to before.
func (d repoDir) record(r ready) error {
	if err := os.MkdirAll(d.manifests(), 0o755); err != nil {
		return err
	}
	revision := r.Revisions[0]
	for _, old := range d.readies() {
		switch {
		case old.Selection != r.Selection:
		case old.Commit == r.Commit:
			r.Revisions = append(r.Revisions, without(old.Revisions, revision)...)
			r.CreatedMS = old.CreatedMS
		case slices.Contains(old.Revisions, revision):
			old.Revisions = without(old.Revisions, revision)
			if err := writeJSON(d.readyFile(old.Commit, old.Selection), old, true); err != nil {
				return err
			}
		}
	}
	return writeJSON(d.readyFile(r.Commit, r.Selection), r, true)
}

func without(all []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == one })
}

// used notes that the model is used now, for whoever decides what to delete when the disk is full.
func (d repoDir) used(r ready, now time.Time) {
	// An unwritable record costs the time of last use only.
	_ = os.Chtimes(d.readyFile(r.Commit, r.Selection), now, now)
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return errors.Join(fs.ErrInvalid, err)
	}
	return nil
}
