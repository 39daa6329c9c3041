package arch

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// checkDoc wants one package comment that begins as Go's tools expect it.
func checkDoc(s source) []string {
	for _, f := range s.files {
		if f.test || f.ast.Doc == nil {
			continue
		}
		text := f.ast.Doc.Text()
		if strings.HasPrefix(text, "Package "+s.name+" ") || s.name == "main" && strings.HasPrefix(text, "Command ") {
			return nil
		}
		return []string{fmt.Sprintf("%s: begin the package comment with %q", f.name, "Package "+s.name+" ")}
	}
	return []string{fmt.Sprintf("package %s has no package comment: say what it is for and what it never does", s.pkg)}
}

// checkClock finds calls of the clock in code that must take the time as an argument.
func checkClock(s source) []string {
	var bad []string
	for _, f := range s.files {
		if !isPure(s.pkg, path.Base(f.name)) {
			continue
		}
		alias := localName(f, "time")
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || !slices.Contains(clock, sel.Sel.Name) {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && alias != "" && x.Name == alias {
				bad = append(bad, fmt.Sprintf("%s: time.%s in pure code: take the time as an argument (test/arch/rules_test.go lists what is pure)", f.at(sel.Pos()), sel.Sel.Name))
			}
			return true
		})
	}
	return bad
}

func isPure(pkg, name string) bool {
	for _, p := range pure {
		if within(pkg, p.pkg) && strings.HasPrefix(name, p.files) {
			return true
		}
	}
	return false
}

// localName is the name under which f imports path, or "".
func localName(f file, importPath string) string {
	for _, s := range f.ast.Imports {
		if p, err := strconv.Unquote(s.Path.Value); err != nil || p != importPath {
			continue
		}
		if s.Name != nil {
			return s.Name.Name
		}
		return path.Base(importPath)
	}
	return ""
}

// checkHabits finds what the house does without: init functions, contexts kept in structs, and package
// names that say nothing.
func checkHabits(s source) []string {
	var bad []string
	if slices.Contains(noNames, path.Base(s.pkg)) {
		bad = append(bad, fmt.Sprintf("package %s: name it after a noun of the domain", s.pkg))
	}
	for _, f := range s.files {
		ctx := localName(f, "context")
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				bad = append(bad, fmt.Sprintf("%s: no init functions: build it in the constructor that needs it", f.at(fn.Pos())))
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			st, ok := n.(*ast.StructType)
			if !ok || ctx == "" || f.test {
				return true
			}
			for _, field := range st.Fields.List {
				if isSelector(field.Type, ctx, "Context") {
					bad = append(bad, fmt.Sprintf("%s: no context in a struct: pass it to the function that needs it", f.at(field.Pos())))
				}
			}
			return true
		})
	}
	return bad
}

// checkAudited finds changes in the name of people that go past package control: they would be in no audit log.
func checkAudited(s source) []string {
	var bad []string
	for _, f := range s.files {
		name := localName(f, module+"/internal/store")
		if f.test || name == "" || within(s.pkg, "internal/control") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok && isSelector(e, name, "OwnerControl") {
				bad = append(bad, fmt.Sprintf("%s: only package control writes in the name of people, because it records what it does: add a verb there", f.at(n.Pos())))
			}
			return true
		})
	}
	return bad
}

func isSelector(e ast.Expr, pkg, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg
}

func TestHabits(t *testing.T) {
	for _, s := range load(t) {
		for _, bad := range slices.Concat(checkDoc(s), checkClock(s), checkHabits(s), checkAudited(s)) {
			t.Error(bad)
		}
	}
}

func TestHabits_catches(t *testing.T) {
	const doc = "// Package x is a test.\n"
	cases := []struct{ name, file, body, want string }{
		{"good", "internal/x/a.go", doc + "package x\n", ""},
		{"no comment", "internal/x/a.go", "package x\n", "has no package comment"},
		{"comment in a test only", "internal/x/a_test.go", doc + "package x\n", "has no package comment"},
		{"wrong beginning", "internal/x/a.go", "// x is a test.\npackage x\n", "begin the package comment"},
		{"clock", "api/a.go", doc + "package x\nimport \"time\"\nvar T = time.Now()\n", "time.Now in pure code"},
		{"clock as a value", "internal/cluster/a.go", doc + "package x\nimport \"time\"\nvar T = time.Now\n", "time.Now in pure code"},
		{"clock by another name", "api/a.go", doc + "package x\nimport tm \"time\"\nvar T = tm.Since\n", "time.Since in pure code"},
		{"clock in a test", "api/a_test.go", doc + "package x\nimport \"time\"\nvar T = time.Now()\n", "time.Now in pure code"},
		{"clock in a planner", "internal/scheduler/plan_gpu.go", doc + "package x\nimport \"time\"\nvar T = time.Now()\n", "time.Now in pure code"},
		{"clock in a loop", "internal/scheduler/run.go", doc + "package x\nimport \"time\"\nvar T = time.Now()\n", ""},
		{"a duration", "api/a.go", doc + "package x\nimport \"time\"\nvar T = time.Second\n", ""},
		{"init", "internal/x/a.go", doc + "package x\nfunc init() {}\n", "no init functions"},
		{"a method named init", "internal/x/a.go", doc + "package x\ntype T int\nfunc (T) init() {}\n", ""},
		{"context", "internal/x/a.go", doc + "package x\nimport \"context\"\ntype T struct{ ctx context.Context }\n", "no context in a struct"},
		{"past the audit log", "internal/x/a.go", doc + "package x\nimport \"github.com/nebula-serve/nebula/internal/store\"\nvar o = store.OwnerControl\n", "only package control"},
		{"into the audit log", "internal/control/a.go", doc + "package x\nimport \"github.com/nebula-serve/nebula/internal/store\"\nvar o = store.OwnerControl\n", ""},
		{"bad name", "internal/util/a.go", doc + "package x\n", "noun of the domain"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f, err := parse(c.file, c.body)
			if err != nil {
				t.Fatal(err)
			}
			s := source{pkg: path.Dir(c.file), name: "x", files: []file{f}}
			got := strings.Join(slices.Concat(checkDoc(s), checkClock(s), checkHabits(s), checkAudited(s)), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want it to contain %q", got, c.want)
			}
		})
	}
}
