package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Two sections of the glossary are about what tables show; the first cells of their rows are words, with commas between them.
const (
	headingsIn = "## Headings of the command line's tables"
	statesIn   = "## States"
)

// TestGlossary_hasEveryWordOfTables: what a table of the command line is headed with, and every word for a state, is in the glossary, and the
// glossary has no word there that no table shows. The words are those of the source.
func TestGlossary_hasEveryWordOfTables(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "docs/glossary.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		section string
		shown   []string
		least   int // fewer were found than there are: the search is broken
	}{
		{headingsIn, headings(t), 90},
		{statesIn, states(t), 20},
	} {
		listed := listedWords(string(text), c.section)
		if len(c.shown) < c.least {
			t.Errorf("%s: only %d words found in the source: %q", c.section, len(c.shown), c.shown)
		}
		for _, w := range c.shown {
			if !slices.Contains(listed, w) {
				t.Errorf("docs/glossary.md lacks %q under %q: say there in a line what it means", w, c.section)
			}
		}
		for i, w := range listed {
			if !slices.Contains(c.shown, w) {
				t.Errorf("docs/glossary.md has %q under %q, and nothing shows it", w, c.section)
			}
			if slices.Contains(listed[:i], w) {
				t.Errorf("docs/glossary.md has %q twice under %q", w, c.section)
			}
		}
	}
}

// listedWords are the words that the rows of a section explain.
func listedWords(text, section string) (out []string) {
	_, text, _ = strings.Cut(text, section+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	for line := range strings.Lines(text) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || strings.TrimSpace(cells[1]) == "word" || strings.HasPrefix(cells[1], "--") {
			continue
		}
		for w := range strings.SplitSeq(cells[1], ",") {
			out = append(out, strings.TrimSpace(w))
		}
	}
	return out
}

var heading = regexp.MustCompile(`^[A-Z][A-Z0-9 /]*$`)

// headings are the titles of the columns of internal/cli: those of lists, and those of tables that are written out.
func headings(t *testing.T) []string {
	var out []string
	notTables := map[ast.Node]bool{} // a list that is gone through on the spot: names of variables and the like
	inspect(t, "internal/cli", func(n ast.Node) {
		switch n := n.(type) {
		case *ast.RangeStmt:
			notTables[n.X] = true
		case *ast.CompositeLit:
			if notTables[n] {
				break
			}
			if array, ok := n.Type.(*ast.ArrayType); ok && isIdent(array.Elt, "string") {
				out = append(out, allHeadings(n.Elts)...)
			} else if title := field(n, "Title"); title != nil && field(n, "Text") != nil {
				out = append(out, allHeadings([]ast.Expr{title})...)
			}
		case *ast.CallExpr:
			if isIdent(n.Fun, "append") && len(n.Args) > 1 {
				out = append(out, allHeadings(n.Args[1:])...)
			}
		}
	})
	return tidy(out)
}

// allHeadings are the texts of literals that all look like headings; one may be empty.
func allHeadings(all []ast.Expr) (out []string) {
	for _, e := range all {
		text, ok := literal(e)
		if !ok || text != "" && !heading.MatchString(text) {
			return nil
		}
		if text != "" {
			out = append(out, text)
		}
	}
	return out
}

var stateType = regexp.MustCompile(`(State|Status)$`)

// states are the constants of api whose type is a state or a status, and what nodeState of the command line adds to one.
func states(t *testing.T) []string {
	var out []string
	inspect(t, "api", func(n ast.Node) {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return
		}
		if name, ok := spec.Type.(*ast.Ident); ok && stateType.MatchString(name.Name) {
			for _, v := range spec.Values {
				if text, ok := literal(v); ok {
					out = append(out, strings.ReplaceAll(text, "_", " "))
				}
			}
		}
	})
	inspect(t, "internal/cli", func(n ast.Node) {
		if f, ok := n.(*ast.FuncDecl); ok && f.Name.Name == "nodeState" {
			ast.Inspect(f, func(n ast.Node) bool {
				if e, ok := n.(ast.Expr); ok {
					if text, ok := literal(e); ok && strings.HasPrefix(text, ", ") {
						out = append(out, text[2:])
					}
				}
				return true
			})
		}
	})
	return tidy(out)
}

// inspect calls see for every node of a package's syntax, tests left out.
func inspect(t *testing.T, pkg string, see func(ast.Node)) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root(t), pkg, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool { see(n); return true })
	}
}

func field(lit *ast.CompositeLit, name string) ast.Expr {
	for _, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok && isIdent(kv.Key, name) {
			return kv.Value
		}
	}
	return nil
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

func tidy(words []string) []string {
	slices.Sort(words)
	return slices.Compact(words)
}
