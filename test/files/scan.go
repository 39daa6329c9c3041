package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nebula-serve/nebula/test/figures"
)

// Shape of the cache that is scanned: half of the files in the hub's layout, half in plain folders.
const (
	scanModels = 100
	scanFiles  = 100 // of each
)

// measureScan is the processor time of looking again at a cache of 10,000 files that nobody has changed.
func measureScan(ctx context.Context, o options, out figures.Report) error {
	dir := filepath.Join(o.dir, "cache")
	if err := fillCache(dir); err != nil {
		return err
	}
	var ms []float64
	for range o.rounds() {
		b, err := exec.CommandContext(ctx, o.self, scanRole, "-cache", dir).Output()
		if err != nil {
			return err
		}
		var t told
		if err := json.Unmarshal(b, &t); err != nil {
			return err
		}
		if t.Files != scanModels*scanFiles {
			return fmt.Errorf("the scan saw %d files of %d", t.Files, scanModels*scanFiles)
		}
		ms = append(ms, t.CPU.Seconds()*1e3)
	}
	out.Add(figures.Figure{Name: "files_rescan_of_10000_cpu", Value: figures.Median(ms), Unit: "ms", Op: "<", Target: 50})
	return nil
}

// fillCache makes models of small files that have lain there for an hour: what was just written is looked at more closely.
func fillCache(dir string) error {
	if err := writeModels(dir); err != nil {
		return err
	}
	old := unix.NsecToTimeval(time.Now().Add(-time.Hour).UnixNano())
	return filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		return errors.Join(err, unix.Lutimes(name, []unix.Timeval{old, old}))
	})
}

func writeModels(dir string) error {
	for m := range scanModels {
		if m%2 == 0 {
			if err := plainModel(filepath.Join(dir, "owner", fmt.Sprintf("plain-%d", m))); err != nil {
				return err
			}
		} else if err := hubModel(filepath.Join(dir, "hub", fmt.Sprintf("models--owner--hub-%d", m))); err != nil {
			return err
		}
	}
	return nil
}

// content is that of the nth file of a model in a folder.
func content(dir string, n int) []byte { return fmt.Appendf(nil, "%s %d", dir, n) }

func plainModel(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for n := range scanFiles {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d.safetensors", n)), content(dir, n), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// hubModel writes what a client of the hub leaves.
func hubModel(dir string) error {
	commit := strings.Repeat("a", 40)
	snapshot := filepath.Join(dir, "snapshots", commit)
	for _, d := range []string{snapshot, filepath.Join(dir, "blobs"), filepath.Join(dir, "refs")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for n := range scanFiles {
		b := content(dir, n)
		sum := sha256.Sum256(b)
		name := hex.EncodeToString(sum[:])
		if err := os.WriteFile(filepath.Join(dir, "blobs", name), b, 0o644); err != nil {
			return err
		}
		if err := os.Symlink("../../blobs/"+name, filepath.Join(snapshot, fmt.Sprintf("%03d.safetensors", n))); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "refs", "main"), []byte(commit), 0o644)
}
