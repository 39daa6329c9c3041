package cli

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/nebula-serve/nebula/internal/apply"
)

// maxSetBytes bounds what is read of all files together.
const maxSetBytes = 64 << 20

// documentEnds are how the files of a directory end that are read.
var documentEnds = []string{".yaml", ".yml", ".json"}

// documents are the files that a command line names.
type documents struct {
	paths     []string
	recursive bool
}

func (d *documents) addFlags(f *pflag.FlagSet) {
	f.StringArrayVarP(&d.paths, "filename", "f", nil, "file or directory with documents, - for standard input; may be repeated")
	f.BoolVarP(&d.recursive, "recursive", "R", false, "with a directory: also what lies below it")
}

// read reads and checks all documents. A set without any is an error: nobody means that.
func (d *documents) read(stdin io.Reader) ([]apply.Doc, error) {
	if len(d.paths) == 0 {
		return nil, usagef("which documents? Give -f FILE, -f DIRECTORY, or -f - for standard input")
	}
	var files []apply.File
	total := 0
	for _, path := range d.paths {
		found, err := d.open(path, stdin)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			if total += len(f.Data); total > maxSetBytes {
				return nil, usagef("the documents are larger than %d MiB together: apply them in parts", maxSetBytes>>20)
			}
		}
		files = append(files, found...)
	}
	docs, err := apply.Parse(files)
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, usagef("there is no document in %s: one begins with \"kind: Model\"; print some with nebula export", strings.Join(d.paths, ", "))
	}
	return docs, nil
}

func (d *documents) open(path string, stdin io.Reader) ([]apply.File, error) {
	if path == "-" {
		f, err := readDocument("standard input", stdin)
		return []apply.File{f}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, usagef("read the documents: %w", err)
	}
	names := []string{path}
	if info.IsDir() {
		if names, err = d.inside(path); err != nil {
			return nil, err
		}
	}
	var out []apply.File
	for _, name := range names {
		f, err := openDocument(name)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// inside lists the documents of a directory in the order of their names. Hidden files, such as an editor's, are none.
func (d *documents) inside(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch hidden := path != dir && strings.HasPrefix(e.Name(), "."); {
		case err != nil:
			return err
		case e.IsDir() && path != dir && (hidden || !d.recursive):
			return filepath.SkipDir
		case e.IsDir() || hidden || !slices.Contains(documentEnds, strings.ToLower(filepath.Ext(path))):
			return nil
		}
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			return nil // not a pipe, which may never end
		}
		if names = append(names, path); len(names) > apply.MaxDocs {
			return usagef("%s holds more than %d files: apply them in parts", dir, apply.MaxDocs)
		}
		return nil
	})
	if err != nil {
		return nil, usagef("read the documents: %w", err)
	}
	if len(names) == 0 {
		hint := ""
		if !d.recursive {
			hint = "; -R looks below it, too"
		}
		return nil, usagef("%s holds no document: their names end in %s%s", dir, strings.Join(documentEnds, ", "), hint)
	}
	return names, nil
}

func openDocument(path string) (apply.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return apply.File{}, usagef("read the documents: %w", err)
	}
	defer func() { _ = f.Close() }()
	return readDocument(path, f)
}

// readDocument reads one byte more than may be, for Parse to refuse.
func readDocument(name string, r io.Reader) (apply.File, error) {
	b, err := io.ReadAll(io.LimitReader(r, apply.MaxFileBytes+1))
	if err != nil {
		return apply.File{}, fmt.Errorf("read %s: %w", name, err)
	}
	return apply.File{Name: name, Data: b}, nil
}
