package cache

import (
	"os"
	"path/filepath"

	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// Open opens a content that Nebula has verified under this root, whichever repository it belongs to, and tells which. What was changed since, and what was
// never verified, is not there.
func (r Root) Open(h manifest.Hash) (*os.File, Dir, bool) {
	if !h.Valid() {
		return nil, Dir{}, false
	}
	seals, err := filepath.Glob(filepath.Join(r.State("verified"), "huggingface", "*", h.Hex+".json"))
	if err != nil {
		return nil, Dir{}, false
	}
	for _, name := range seals {
		d := Dir{r, filepath.Base(filepath.Dir(name))}
		if f, ok := d.openSealed(h); ok {
			return f, d, true
		}
	}
	return nil, Dir{}, false
}

// openSealed opens a blob and compares the file that was opened with its seal.
func (d Dir) openSealed(h manifest.Hash) (*os.File, bool) {
	f, err := os.OpenFile(d.Blob(h), os.O_RDONLY|disk.NoFollow, 0)
	if err != nil {
		return nil, false
	}
	fi, err := f.Stat()
	var s seal
	if err != nil || !fi.Mode().IsRegular() || disk.ReadJSON(d.verified(h), &s) != nil || s != sealOf(fi) {
		_ = f.Close() // it was only read
		return nil, false
	}
	return f, true
}
