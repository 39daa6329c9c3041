package cache

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// Limits of a local model's folder.
const (
	maxLocalFiles = 10_000
	maxLocalDepth = 3
)

// Missing says that a path is not there.
func Missing(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || strings.Contains(err.Error(), "not a directory") {
		return fail.Final(api.FailModelMissing, fail.Missing, "%s does not exist on this node. Copy the model there, or correct model_path; a path that holds on one node only needs node_id.", path).Because(err)
	}
	return Unreadable(path, err)
}

// Unreadable says why a path cannot be read.
func Unreadable(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fail.Final(api.FailInvalidModel, fail.Unreadable, "Nebula may not read %s. Change its permissions (chmod a+rX) or move it.", path).Because(err)
	}
	return fail.Final(api.FailInvalidModel, fail.Unreadable, "cannot read %s: %v", path, err).Because(err)
}

// SelectBeside returns a single file's manifest: with its other parts if it is one of several.
func SelectBeside(path string, want manifest.Want) (manifest.Manifest, error) {
	if want.Engine != api.EngineLlamaCPP {
		return manifest.Manifest{}, fail.Final(api.FailInvalidModel, fail.NoWeights, "%s is a file; %s reads a folder. Give model_path the folder, or use engine_type llamacpp for a GGUF file.", path, want.Engine)
	}
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return manifest.Manifest{}, Unreadable(filepath.Dir(path), err)
	}
	listed := map[string]manifest.Entry{}
	for _, n := range names {
		if manifest.IsPart(n.Name()) || n.Name() == filepath.Base(path) {
			if fi, err := os.Stat(filepath.Join(filepath.Dir(path), n.Name())); err == nil && fi.Mode().IsRegular() {
				listed[n.Name()] = manifest.Entry{Path: n.Name(), Size: fi.Size()}
			}
		}
	}
	parts, err := manifest.Parts(listed, listed[filepath.Base(path)])
	if err != nil {
		return manifest.Manifest{}, err
	}
	return manifest.Manifest{Files: parts, Primary: parts[0].Path, Format: manifest.FormatGGUF}, nil
}

// SelectFolder chooses from a folder.
func SelectFolder(ctx context.Context, dir string, want manifest.Want) (manifest.Manifest, error) {
	entries, err := ListFolder(ctx, dir)
	if err != nil {
		return manifest.Manifest{}, err
	}
	return selectListed(dir, entries, want)
}

// selectListed chooses from the files of a folder.
func selectListed(dir string, entries []manifest.Entry, want manifest.Want) (manifest.Manifest, error) {
	var err error
	if want.Engine == api.EngineLlamaCPP {
		models := manifest.Candidates(entries)
		if len(models) > 1 && len(want.Patterns) == 0 {
			return manifest.Manifest{}, fail.Final(api.FailInvalidModel, fail.Ambiguous, "%s holds %d models (%s). Give model_path the file, or name one in `files`.", dir, len(models), manifest.SomeNames(models))
		}
		return manifest.Select(entries, want, nil)
	}
	idx := manifest.Indexes{}
	if name := manifest.IndexName(entries, want); name != "" {
		if idx[name], err = ReadWeightMap(filepath.Join(dir, name)); err != nil {
			return manifest.Manifest{}, fail.Final(api.FailInvalidModel, fail.Inconsistent, "%s in %s is not an index of weights", name, dir).Because(err)
		}
	}
	man, err := manifest.Select(entries, want, idx)
	if err == nil && !manifest.Has(entries, "config.json") && !manifest.Has(entries, manifest.PipelineIndex) && man.Format == manifest.FormatSafetensors {
		return manifest.Manifest{}, fail.Final(api.FailInvalidModel, fail.Incomplete, "%s has weights but no config.json, which %s needs. Copy the whole model folder.", dir, want.Engine)
	}
	return man, err
}

// ListFolder lists the regular files of a folder, links to files followed, a few levels deep.
func ListFolder(ctx context.Context, dir string) ([]manifest.Entry, error) {
	var out []manifest.Entry
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || strings.Count(rel, "/") >= maxLocalDepth) {
				return fs.SkipDir
			}
			return nil
		}
		fi, err := os.Stat(name)
		if err != nil || !fi.Mode().IsRegular() || manifest.NameFault(rel) != "" {
			return nil // a broken link or a socket is no part of the model
		}
		if len(out) >= maxLocalFiles {
			return fail.Final(api.FailInvalidModel, fail.TooLarge, "%s holds more than %d files: it is no model folder", dir, maxLocalFiles)
		}
		out = append(out, manifest.Entry{Path: rel, Size: fi.Size()})
		return nil
	})
	if _, ok := fail.As(err); err == nil || ok || errors.Is(err, context.Canceled) {
		return out, err
	}
	return nil, Unreadable(dir, err)
}

// ReadWeightMap returns the distinct file names of an index of shards, sorted.
func ReadWeightMap(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var v struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	return slices.Compact(slices.Sorted(maps.Values(v.WeightMap))), nil
}
