package arch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const howToChange = "if the rule is wrong, change its row in test/arch/rules_test.go and say why"

// ruleFor returns the most specific row for pkg.
func ruleFor(pkg string) (rule, bool) {
	var best rule
	found := false
	for _, r := range rules {
		if within(pkg, r.pkg) && (!found || len(r.pkg) > len(best.pkg)) {
			best, found = r, true
		}
	}
	return best, found
}

// checkImports returns what s imports against the rules, one sentence each. Tests are free, save that
// nothing imports cmd.
func checkImports(s source) []string {
	r, ok := ruleFor(s.pkg)
	if !ok {
		return []string{fmt.Sprintf("package %s has no row in the import table: add one to test/arch/rules_test.go that says what it may import and why", s.pkg)}
	}
	var bad []string
	for _, f := range s.files {
		for path, at := range f.imports() {
			if msg := checkImport(r, s.pkg, path, f.test); msg != "" {
				bad = append(bad, fmt.Sprintf("%s: %s; %s", at, msg, howToChange))
			}
		}
	}
	slices.Sort(bad)
	return bad
}

// checkImport returns why the package pkg under rule r may not import path, or "".
func checkImport(r rule, pkg, path string, test bool) string {
	ours, isOurs := strings.CutPrefix(path, module+"/")
	switch {
	case isOurs && within(ours, "cmd"):
		return "nothing imports cmd"
	case test:
		return ""
	case isOurs && !mayImport(r, ours):
		return fmt.Sprintf("%s may import of ours only [%s], not %s: %s", r.pkg, strings.Join(r.may, " "), ours, r.why)
	case isOurs:
		return ""
	case r.noThirdParty && !isStd(path):
		return fmt.Sprintf("%s may import nothing from outside the standard library, not %s: %s", r.pkg, path, r.why)
	case slices.ContainsFunc(r.never, func(n string) bool { return matches(path, n) }):
		return fmt.Sprintf("%s must never import %s: %s", r.pkg, path, r.why)
	}
	for _, x := range exclusive {
		if strings.HasPrefix(path, x.path) && !slices.ContainsFunc(x.may, func(p string) bool { return within(pkg, p) }) {
			return fmt.Sprintf("only [%s] may import %s: %s", strings.Join(x.may, " "), path, x.why)
		}
	}
	return ""
}

func mayImport(r rule, ours string) bool {
	if within(ours, r.pkg) {
		return true // packages below one row belong together
	}
	return slices.ContainsFunc(r.may, func(m string) bool {
		return within(ours, m) || m == everything && !within(ours, "test")
	})
}

// matches compares an import path with a row of never.
func matches(path, pattern string) bool {
	if tree, ok := strings.CutSuffix(pattern, "/..."); ok {
		return strings.HasPrefix(path, tree+"/")
	}
	return path == pattern
}

// isStd tells the standard library by its lack of a domain.
func isStd(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func TestImports(t *testing.T) {
	for _, s := range load(t) {
		for _, bad := range checkImports(s) {
			t.Error(bad)
		}
	}
}

func TestImports_tableIsSound(t *testing.T) {
	rows := map[string]bool{}
	for _, r := range rules {
		if rows[r.pkg] {
			t.Errorf("%s has two rows", r.pkg)
		}
		rows[r.pkg] = true
		if r.why == "" {
			t.Errorf("%s: a rule without its reason", r.pkg)
		}
	}
	for _, r := range rules {
		for _, m := range r.may {
			if m != everything && !rows[m] {
				t.Errorf("%s may import %s, which has no row", r.pkg, m)
			}
		}
	}
}

func TestImports_catches(t *testing.T) {
	cases := []struct{ file, imports, want string }{
		{"api/x.go", "os", "api must never import os"},
		{"api/x.go", "github.com/google/uuid", "nothing from outside the standard library"},
		{"api/x.go", module + "/internal/cluster", "not internal/cluster"},
		{"api/x.go", "encoding/json", ""},
		{"internal/cluster/x.go", "log/slog", "must never import log/slog"},
		{"internal/cluster/x.go", "github.com/google/btree", ""},
		{"internal/cluster/x.go", module + "/internal/store", "not internal/store"},
		{"internal/engine/x.go", "os/exec", "must never import os/exec"},
		{"internal/scheduler/x.go", module + "/internal/store", "not internal/store"},
		{"internal/scheduler/x_test.go", module + "/internal/store", ""},
		{"internal/gateway/x.go", module + "/internal/control", "not internal/control"},
		{"internal/gateway/x.go", "os/exec", "few places start processes"},
		{"internal/etcd/member/x.go", "go.etcd.io/etcd/client/v3", ""},
		{"internal/etcd/member/x.go", module + "/internal/etcd", ""},
		{"internal/store/x.go", "go.etcd.io/etcd/client/v3", "only [internal/etcd test] may import go.etcd.io/"},
		{"internal/app/x.go", module + "/internal/store", ""},
		{"internal/app/x.go", module + "/test/arch", "not test/arch"},
		{"internal/cli/x.go", module + "/internal/store", "not internal/store"},
		{"internal/cli/x_test.go", module + "/cmd/nebula", "nothing imports cmd"},
		{"test/e2e/x.go", module + "/internal/etcd", ""},
		{"internal/brandnew/x.go", "fmt", "has no row in the import table"},
	}
	for _, c := range cases {
		t.Run(c.file+" imports "+c.imports, func(t *testing.T) {
			f, err := parse(c.file, fmt.Sprintf("package x\nimport _ %q\n", c.imports))
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(checkImports(source{pkg: c.file[:strings.LastIndex(c.file, "/")], files: []file{f}}), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want it to contain %q", got, c.want)
			}
		})
	}
}
