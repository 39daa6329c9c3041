package modelfiles

import (
	"context"
	"errors"
	"io/fs"
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

// openLocal checks a model that people put on the node. It copies, changes and hashes nothing.
//
// Branches, in order:
//  1. The path is absolute, exists, may be read and is in an allowed folder.
//  2. A file: GGUF, with the other parts of a split model beside it.
//  3. A folder: chosen from as a repository would be; for llama.cpp without patterns it must hold one model.
//  4. The headers agree with the lengths of the files.
func (s *Store) openLocal(ctx context.Context, spec api.ModelSpec, want manifest.Want) (Model, error) {
	path, fi, err := s.localPath(spec.ModelPath) // 1
	if err != nil {
		return Model{}, err
	}
	m := Model{Path: path}
	var dir string
	var man manifest.Manifest
	if fi.IsDir() { // 3
		dir = path
		man, err = selectLocal(ctx, dir, want)
	} else { // 2
		dir = filepath.Dir(path)
		man, err = selectBeside(path, want)
	}
	if err != nil {
		return Model{}, err
	}
	for _, f := range man.Files {
		m.Files = append(m.Files, filepath.Join(dir, filepath.FromSlash(f.Path)))
	}
	m.Bytes, m.Format = uint64(man.Total()), man.Format
	if man.Primary != "" {
		m.Path = filepath.Join(dir, filepath.FromSlash(man.Primary))
	}
	if man.MMProj != "" {
		m.MMProj = filepath.Join(dir, filepath.FromSlash(man.MMProj))
	}
	m.Metadata, err = inspect(m) // 4
	return m, err
}

// localPath returns the path with all links followed.
func (s *Store) localPath(given string) (string, fs.FileInfo, error) {
	if !filepath.IsAbs(given) || strings.ContainsRune(given, 0) || slices.Contains(strings.Split(given, "/"), "..") {
		return "", nil, fail.Final(api.FailInvalidModel, fail.UnsafeName, "%q is no path of a local model: it must be absolute and without \"..\"", fail.Clip(given))
	}
	path, err := filepath.EvalSymlinks(given)
	if err != nil {
		return "", nil, missing(given, err)
	}
	inside := func(dir string) bool {
		dir, err := filepath.EvalSymlinks(dir)
		return err == nil && (path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/"))
	}
	if len(s.cfg.LocalRoots) > 0 && !slices.ContainsFunc(s.cfg.LocalRoots, inside) {
		return "", nil, fail.Final(api.FailInvalidModel, fail.UnsafeName, "%s is not in a folder that this node allows for local models: %s", given, fail.Quoted(s.cfg.LocalRoots))
	}
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return "", nil, missing(given, err)
	case !fi.IsDir() && !fi.Mode().IsRegular():
		return "", nil, fail.Final(api.FailInvalidModel, fail.Unreadable, "%s is neither a file nor a folder", given)
	}
	return path, fi, nil
}

func missing(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || strings.Contains(err.Error(), "not a directory") {
		return fail.Final(api.FailModelMissing, fail.Missing, "%s does not exist on this node. Copy the model there, or correct model_path; a path that holds on one node only needs node_id.", path).Because(err)
	}
	return unreadable(path, err)
}

func unreadable(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fail.Final(api.FailInvalidModel, fail.Unreadable, "Nebula may not read %s. Change its permissions (chmod a+rX) or move it.", path).Because(err)
	}
	return fail.Final(api.FailInvalidModel, fail.Unreadable, "cannot read %s: %v", path, err).Because(err)
}

// selectBeside returns a single file's manifest: with its other parts if it is one of several.
func selectBeside(path string, want manifest.Want) (manifest.Manifest, error) {
	if want.Engine != api.EngineLlamaCPP {
		return manifest.Manifest{}, fail.Final(api.FailInvalidModel, fail.NoWeights, "%s is a file; %s reads a folder. Give model_path the folder, or use engine_type llamacpp for a GGUF file.", path, want.Engine)
	}
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return manifest.Manifest{}, unreadable(filepath.Dir(path), err)
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

// selectLocal chooses from a folder.
func selectLocal(ctx context.Context, dir string, want manifest.Want) (manifest.Manifest, error) {
	entries, err := listFolder(ctx, dir)
	if err != nil {
		return manifest.Manifest{}, err
	}
	if want.Engine == api.EngineLlamaCPP {
		models := manifest.Candidates(entries)
		if len(models) > 1 && len(want.Patterns) == 0 {
			return manifest.Manifest{}, fail.Final(api.FailInvalidModel, fail.Ambiguous, "%s holds %d models (%s). Give model_path the file, or name one in `files`.", dir, len(models), manifest.SomeNames(models))
		}
		return manifest.Select(entries, want, nil)
	}
	idx := manifest.Indexes{}
	if name := manifest.IndexName(entries, want); name != "" {
		if idx[name], err = readWeightMap(filepath.Join(dir, name)); err != nil {
			return manifest.Manifest{}, fail.Final(api.FailInvalidModel, fail.Inconsistent, "%s in %s is not an index of weights", name, dir).Because(err)
		}
	}
	man, err := manifest.Select(entries, want, idx)
	if err == nil && !manifest.Has(entries, "config.json") && man.Format == manifest.FormatSafetensors {
		return manifest.Manifest{}, fail.Final(api.FailInvalidModel, fail.Incomplete, "%s has weights but no config.json, which %s needs. Copy the whole model folder.", dir, want.Engine)
	}
	return man, err
}

// listFolder lists the regular files of a folder, links to files followed, a few levels deep.
func listFolder(ctx context.Context, dir string) ([]manifest.Entry, error) {
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
	return nil, unreadable(dir, err)
}
