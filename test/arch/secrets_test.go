package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// secretName is how a value is called that nobody may find out by how long a comparison takes.
var secretName = regexp.MustCompile(`((?i:secret|token|password|digest|nonce|cookie|signature|^mac|secrethash)|^Hash)$`)

// noSecrets are packages whose hashes and digests everybody may know, and why.
var noSecrets = map[string]string{
	"internal/modelfiles": "digests of public files",
	"internal/audit":      "a chain whose hashes are in the log beside it",
	"internal/demomodel":  "tokens of a vocabulary",
	"internal/gateway":    "words of a stream; credentials are in auth",
	"internal/engine":     "words of a command line",
	"internal/agent":      "hashes of launches and files",
	"internal/supervise":  "hashes of launches",
	"internal/cluster":    "digests of public files",
	"internal/registry":   "digests of public files",
	"internal/scheduler":  "hashes of specifications",
	"internal/nodeapi":    "digests of public files",
	"internal/store":      "digests of public files",
	"internal/etcd":       "the checksum of a backup",
	"internal/link":       "the digest of a report, to send it once",
}

// checkCompares finds secrets that are compared byte by byte until the first that differs: by their type, api.Token, and by their name where the
// type is text or bytes. A comparison with a constant (is there one?) tells nothing.
func checkCompares(pkg string, fset *token.FileSet, files []*ast.File, info *types.Info) []string {
	var bad []string
	secret := func(e ast.Expr) bool {
		tv := info.Types[e]
		if tv.Type == nil || tv.Value != nil {
			return false
		}
		if n, ok := types.Unalias(tv.Type).(*types.Named); ok && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == module+"/api" && n.Obj().Name() == "Token" {
			return true
		}
		return textual(tv.Type) && secretName.MatchString(lastName(e)) && !anyWithin(pkg)
	}
	plain := func(e ast.Expr) bool { tv := info.Types[e]; return tv.Value != nil || tv.IsNil() }
	compare := func(at token.Pos, a, b ast.Expr) {
		if (secret(a) || secret(b)) && !plain(a) && !plain(b) {
			p := fset.Position(at)
			bad = append(bad, fmt.Sprintf("%s/%s:%d: a secret is compared in a time that tells how much of it was right: use subtle.ConstantTimeCompare", pkg, filepath.Base(p.Filename), p.Line))
		}
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if n.Op == token.EQL || n.Op == token.NEQ {
					compare(n.Pos(), n.X, n.Y)
				}
			case *ast.CallExpr:
				if fn, ok := n.Fun.(*ast.SelectorExpr); ok && len(n.Args) == 2 && comparing(info, fn) {
					compare(n.Pos(), n.Args[0], n.Args[1])
				}
			case *ast.SwitchStmt:
				for _, c := range n.Body.List {
					for _, e := range c.(*ast.CaseClause).List {
						if n.Tag != nil {
							compare(e.Pos(), n.Tag, e)
						}
					}
				}
			}
			return true
		})
	}
	return bad
}

// comparing tells whether a function compares its two arguments, not in constant time.
func comparing(info *types.Info, fn *ast.SelectorExpr) bool {
	obj := info.Uses[fn.Sel]
	if obj == nil || obj.Pkg() == nil {
		return false
	}
	switch obj.Pkg().Path() + "." + obj.Name() {
	case "bytes.Equal", "bytes.EqualFold", "bytes.Compare", "strings.EqualFold", "strings.Compare", "reflect.DeepEqual", "slices.Equal", "slices.Compare", "cmp.Compare":
		return true
	}
	return false
}

func anyWithin(pkg string) bool {
	for tree := range noSecrets {
		if within(pkg, tree) {
			return true
		}
	}
	return false
}

// textual tells whether values of a type are text or bytes.
func textual(t types.Type) bool {
	switch u := t.Underlying().(type) {
	case *types.Basic:
		return u.Info()&types.IsString != 0
	case *types.Slice:
		b, ok := u.Elem().Underlying().(*types.Basic)
		return ok && b.Kind() == types.Uint8
	case *types.Array:
		b, ok := u.Elem().Underlying().(*types.Basic)
		return ok && b.Kind() == types.Uint8
	}
	return false
}

// lastName is what an expression calls its value: the x of x, a.x, x[:], *x, string(x) and a.x().
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.SliceExpr:
		return lastName(e.X)
	case *ast.StarExpr:
		return lastName(e.X)
	case *ast.ParenExpr:
		return lastName(e.X)
	case *ast.CallExpr:
		if len(e.Args) == 1 {
			if name := lastName(e.Args[0]); secretName.MatchString(name) {
				return name
			}
		}
		return lastName(e.Fun)
	}
	return ""
}

func typesInfo() *types.Info {
	return &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
}

// exported are packages, by import path, with what the compiler told of their types.
type exported map[string]struct {
	ImportPath, Export, Dir string
	GoFiles                 []string
}

func (e exported) open(path string) (io.ReadCloser, error) { return os.Open(e[path].Export) }

// exportsOf lists packages and all that they import.
func exportsOf(t *testing.T, patterns ...string) exported {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-export", "-deps", "-json=ImportPath,Export,Dir,GoFiles"}, patterns...)...)
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -export: %v", err)
	}
	all := exported{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		p := all[""] // a zero value
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

func TestSecrets_areComparedInConstantTime(t *testing.T) {
	all := exportsOf(t, "./api/...", "./client/...", "./internal/...")
	fset := token.NewFileSet()
	known := importer.ForCompiler(fset, "gc", all.open)
	seen := 0
	for _, p := range all {
		if !strings.HasPrefix(p.ImportPath, module) {
			continue
		}
		var files []*ast.File
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		info := typesInfo()
		if _, err := (&types.Config{Importer: known}).Check(p.ImportPath, fset, files, info); err != nil {
			t.Fatalf("%s: %v", p.ImportPath, err)
		}
		seen += len(info.Types)
		for _, bad := range checkCompares(strings.TrimPrefix(p.ImportPath, module+"/"), fset, files, info) {
			t.Error(bad)
		}
	}
	if seen < 50_000 {
		t.Errorf("%d expressions were seen: too few to be all of Nebula", seen)
	}
}

func TestSecrets_catches(t *testing.T) {
	std := exportsOf(t, "bytes", "strings", "reflect", "crypto/subtle")
	for name, c := range map[string]struct {
		body string
		bad  bool
	}{
		"by type":                 {`func f(a, b Token) bool { return a == b }`, true},
		"by type, whatever name":  {`func f(x Token, y string) bool { return y != string(x) || x == Token(y) }`, true},
		"by name":                 {`func f(given string, s struct{ SecretHash string }) bool { return given == s.SecretHash }`, true},
		"a password":              {`func f(given, password string) bool { return given != password }`, true},
		"bytes":                   {`func f(given, mac []byte) bool { return bytes.Equal(given, mac) }`, true},
		"an array":                {`func f(given, digest [32]byte) bool { return given == digest }`, true},
		"a slice of an array":     {`func f(given []byte, digest [32]byte) bool { return bytes.Equal(given, digest[:]) }`, true},
		"of a call":               {`func digest(string) string { return "" }; func f(a, b string) bool { return a == digest(b) }`, true},
		"converted":               {`func f(given string, secret []byte) bool { return given == string(secret) }`, true},
		"folded":                  {`func f(given, token string) bool { return strings.EqualFold(given, token) }`, true},
		"in a switch":             {`func f(given, token string) bool { switch given { case token: return true }; return false }`, true},
		"deeply":                  {`func f(given, token []byte) bool { return reflect.DeepEqual(given, token) }`, true},
		"is there one":            {`func f(token Token, secret []byte) bool { return token == "" || secret == nil || len(secret) == 0 }`, false},
		"a constant":              {`const none = "none"; func f(token string) bool { return token == none }`, false},
		"in constant time":        {`func f(given, secret []byte) bool { return subtle.ConstantTimeCompare(given, secret) == 1 }`, false},
		"another type":            {`type pos int; func f(token, other pos) bool { return token == other }`, false},
		"another name":            {`func f(a, b string) bool { return a == b }`, false},
		"the name of a secret is": {`func f(a, secretName string) bool { return a == secretName }`, false},
	} {
		t.Run(name, func(t *testing.T) {
			imports := ""
			for _, p := range []string{"bytes", "strings", "reflect", "crypto/subtle"} {
				if strings.Contains(c.body, filepath.Base(p)+".") {
					imports += fmt.Sprintf("import %q\n", p)
				}
			}
			fset := token.NewFileSet()
			known := importer.ForCompiler(fset, "gc", std.open)
			f, err := parser.ParseFile(fset, "a.go", "package api\n"+imports+"type Token string\n"+c.body, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			info := typesInfo()
			if _, err := (&types.Config{Importer: known}).Check(module+"/api", fset, []*ast.File{f}, info); err != nil {
				t.Fatal(err)
			}
			if bad := checkCompares("api", fset, []*ast.File{f}, info); (len(bad) > 0) != c.bad {
				t.Errorf("%s: found %q", c.body, bad)
			}
		})
	}
}
