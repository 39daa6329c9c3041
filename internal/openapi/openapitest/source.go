// Package openapitest holds answers against the document of the API, for tests. It reads the source of package api, so that a document is
// never older than the code.
package openapitest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/nebula-serve/nebula/internal/openapi"
)

// APISource is where package api is: in the module that the working folder, where a test runs, belongs to.
func APISource() string {
	dir, err := os.Getwd()
	if err != nil {
		return "api"
	}
	for !isFile(filepath.Join(dir, "go.mod")) {
		up := filepath.Dir(dir)
		if up == dir {
			return "api"
		}
		dir = up
	}
	return filepath.Join(dir, "api")
}

func isFile(name string) bool {
	i, err := os.Stat(name)
	return err == nil && i.Mode().IsRegular()
}

// apiProse is what package api says. Its source does not change while a test runs.
var apiProse = sync.OnceValues(func() (openapi.Prose, error) { return ReadProse(APISource()) })

// ReadProse reads what the source files of a package in a folder say.
func ReadProse(dir string) (openapi.Prose, error) {
	p := openapi.Prose{Types: map[string]openapi.TypeProse{}, Enums: map[string][]openapi.Value{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		return p, fmt.Errorf("no source in %s: %w", dir, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return p, err
		}
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok {
				readDecl(p, g)
			}
		}
	}
	return p, nil
}

func readDecl(p openapi.Prose, g *ast.GenDecl) {
	for _, s := range g.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			doc := s.Doc
			if doc == nil {
				doc = g.Doc
			}
			readType(p, s, words(doc))
		case *ast.ValueSpec:
			if kind, ok := s.Type.(*ast.Ident); ok && g.Tok == token.CONST && len(s.Values) == len(s.Names) {
				readValues(p, kind.Name, s)
			}
		}
	}
}

func readType(p openapi.Prose, s *ast.TypeSpec, doc string) {
	st, ok := s.Type.(*ast.StructType)
	if !ok || !s.Name.IsExported() {
		return
	}
	t := openapi.TypeProse{Doc: doc, Fields: map[string]string{}}
	for _, f := range st.Fields.List {
		text := strings.TrimSpace(words(f.Doc) + " " + words(f.Comment))
		for _, n := range f.Names {
			if text != "" {
				t.Fields[n.Name] = text
			}
		}
	}
	p.Types[s.Name.Name] = t
}

func readValues(p openapi.Prose, kind string, s *ast.ValueSpec) {
	for _, v := range s.Values {
		lit, ok := v.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			continue
		}
		text, err := strconv.Unquote(lit.Value)
		if err != nil {
			continue
		}
		p.Enums[kind] = append(p.Enums[kind], openapi.Value{Value: text, Doc: words(s.Comment)})
	}
}

// words is a comment as one paragraph.
func words(c *ast.CommentGroup) string {
	return strings.NewReplacer("[", "", "]", "").Replace(strings.Join(strings.Fields(c.Text()), " "))
}
