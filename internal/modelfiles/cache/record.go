package cache

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// Record is Nebula's own record of a complete model: which files, at which commit. No other program can tell whether a
// part of a repository is complete. Its modification time is when the model was last used.
type Record struct {
	Version   int               `json:"version"`
	Repo      string            `json:"repo"`
	Revisions []string          `json:"revisions"` // that led to this commit when they were last asked for
	Commit    string            `json:"commit"`
	Selection string            `json:"selection"` // for whom the files were chosen
	Format    manifest.Format   `json:"format"`
	Primary   string            `json:"primary,omitempty"`
	MMProj    string            `json:"mmproj,omitempty"`
	Files     []manifest.Entry  `json:"files"`
	CreatedMS int64             `json:"created_ms"`
	Metadata  manifest.Metadata `json:"metadata"`
}

// RecordVersion is that of the records that this program writes.
const RecordVersion = 1

// Selection names what decides about the files besides the repository: the kind of engine and the patterns.
func Selection(w manifest.Want) string {
	kind := "folder"
	if w.Engine == api.EngineLlamaCPP {
		kind = "gguf"
	}
	sum := sha256.Sum256([]byte(kind + "\x00" + strings.Join(w.Patterns, "\x00")))
	return kind + "-" + hex.EncodeToString(sum[:6])
}

// RecordFile is where a record is.
func (d Dir) RecordFile(commit, selection string) string {
	return filepath.Join(d.manifests(), commit+"-"+selection+".json")
}

// Records returns every record of the repository that makes sense, the newest first.
func (d Dir) Records() []Record {
	names, err := filepath.Glob(filepath.Join(d.manifests(), "*.json"))
	if err != nil {
		return nil
	}
	var out []Record
	for _, n := range names {
		var r Record
		if disk.ReadJSON(n, &r) == nil && r.sound() {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Record) int { return cmp.Compare(b.CreatedMS, a.CreatedMS) })
	return out
}

// sound tells whether a record may be used: it is a file that anybody may have changed.
func (r *Record) sound() bool {
	if r.Version != RecordVersion || !manifest.IsCommit(r.Commit) || len(r.Files) == 0 || manifest.CheckNames(r.Files) != nil {
		return false
	}
	for _, f := range r.Files {
		if !f.Valid() || f.Size < 0 {
			return false
		}
	}
	return (r.Primary == "" || manifest.Has(r.Files, r.Primary)) && (r.MMProj == "" || manifest.Has(r.Files, r.MMProj))
}

// Find returns the record for a revision and a selection.
func (d Dir) Find(revision, selection string) (Record, bool) {
	for _, r := range d.Records() {
		if r.Selection == selection && (r.Commit == revision || slices.Contains(r.Revisions, revision)) {
			return r, true
		}
	}
	return Record{}, false
}

// Whole tells by looking at the files, not into them, whether everything is there and unchanged since verified.
func (d Dir) Whole(r Record) bool {
	return !slices.ContainsFunc(r.Files, func(f manifest.Entry) bool { return !d.Sealed(f) }) && d.linked(r.Commit, r.Files)
}

// Put writes that the model is complete. A revision that moved here is taken from the records it led to before.
func (d Dir) Put(r Record) error {
	if err := os.MkdirAll(d.manifests(), 0o755); err != nil {
		return err
	}
	revision := r.Revisions[0]
	for _, old := range d.Records() {
		switch {
		case old.Selection != r.Selection:
		case old.Commit == r.Commit:
			r.Revisions = append(r.Revisions, without(old.Revisions, revision)...)
			r.CreatedMS = old.CreatedMS
		case slices.Contains(old.Revisions, revision):
			old.Revisions = without(old.Revisions, revision)
			used := d.usedAt(old)
			if err := disk.WriteJSON(d.RecordFile(old.Commit, old.Selection), old, true); err != nil {
				return err
			}
			d.Used(old, used)
		}
	}
	return disk.WriteJSON(d.RecordFile(r.Commit, r.Selection), r, true)
}

// LedBy notes that a revision leads to this record.
func (r *Record) LedBy(revision string) {
	r.Revisions = append([]string{revision}, without(r.Revisions, revision)...)
}

func without(all []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == one })
}

// usedAt is when a model was last used.
func (d Dir) usedAt(r Record) time.Time {
	fi, err := os.Stat(d.RecordFile(r.Commit, r.Selection))
	if err != nil {
		return time.UnixMilli(r.CreatedMS)
	}
	return fi.ModTime()
}

// Used notes that the model is used now, for whoever decides what to delete when the disk is full.
func (d Dir) Used(r Record, now time.Time) {
	// An unwritable record costs the time of last use only.
	_ = os.Chtimes(d.RecordFile(r.Commit, r.Selection), now, now)
}
