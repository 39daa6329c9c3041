package modelfiles

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
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
		man, err = cache.SelectFolder(ctx, dir, want)
	} else { // 2
		dir = filepath.Dir(path)
		man, err = cache.SelectBeside(path, want)
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
		return "", nil, cache.Missing(given, err)
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
		return "", nil, cache.Missing(given, err)
	case !fi.IsDir() && !fi.Mode().IsRegular():
		return "", nil, fail.Final(api.FailInvalidModel, fail.Unreadable, "%s is neither a file nor a folder", given)
	}
	if dir := openToAll(path, fi); dir != "" {
		s.mu.Lock()
		if !s.warned[path] {
			s.warned[path] = true
			s.cfg.Log.Warn("everybody on this machine can replace the files of a local model", "model", path, "folder", dir)
		}
		s.mu.Unlock()
	}
	return path, fi, nil
}

// openToAll returns the folder at or above a path in which everybody may replace files, or "". A sticky folder, such as /tmp, is none.
func openToAll(path string, fi fs.FileInfo) string {
	for {
		if fi.IsDir() && fi.Mode().Perm()&0o002 != 0 && fi.Mode()&fs.ModeSticky == 0 {
			return path
		}
		up := filepath.Dir(path)
		if up == path {
			return ""
		}
		var err error
		if fi, err = os.Stat(up); err != nil {
			return ""
		}
		path = up
	}
}
