package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// source is one package of ours as the rules see it.
type source struct {
	pkg   string // relative to the module: "internal/store"
	name  string
	files []file
}

// file is one Go file, for whatever platform it is built.
type file struct {
	name string // relative to the module
	test bool
	ast  *ast.File
	fset *token.FileSet
}

// imports returns the import paths of a file with the place where each stands.
func (f file) imports() map[string]token.Position {
	out := map[string]token.Position{}
	for _, s := range f.ast.Imports {
		path, err := strconv.Unquote(s.Path.Value)
		if err == nil {
			out[path] = f.at(s.Pos())
		}
	}
	return out
}

func (f file) at(p token.Pos) token.Position {
	pos := f.fset.Position(p)
	pos.Filename = f.name
	return pos
}

// root is the directory of the module.
func root(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatalf("go env GOMOD: %v", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

// load reads every package of the module. Packages that do not compile are read all the same: the compiler
// reports those better.
func load(t *testing.T) []source {
	t.Helper()
	dir := root(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Name,Dir,GoFiles,CgoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var all []source
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath, Name, Dir                                        string
			GoFiles, CgoFiles, IgnoredGoFiles, TestGoFiles, XTestGoFiles []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		s := source{pkg: strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/"), name: p.Name}
		for _, names := range [][]string{p.GoFiles, p.CgoFiles, p.IgnoredGoFiles, p.TestGoFiles, p.XTestGoFiles} {
			for _, name := range names {
				body, err := os.ReadFile(filepath.Join(p.Dir, name))
				if errors.Is(err, os.ErrNotExist) {
					continue // removed since go list looked
				}
				if err != nil {
					t.Fatal(err)
				}
				f, err := parse(s.pkg+"/"+name, string(body))
				if err != nil {
					t.Fatal(err)
				}
				s.files = append(s.files, f)
			}
		}
		all = append(all, s)
	}
	return all
}

// parse reads one file; name is relative to the module.
func parse(name, body string) (file, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, body, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return file{}, fmt.Errorf("parse %s: %w", name, err)
	}
	return file{name: name, test: strings.HasSuffix(name, "_test.go"), ast: tree, fset: fset}, nil
}

// within reports whether pkg is tree or lies below it.
func within(pkg, tree string) bool {
	return pkg == tree || strings.HasPrefix(pkg, tree+"/")
}
