package arch

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the import table into ARCHITECTURE.md")

const (
	tableBegin = "<!-- imports: written by `go test ./test/arch -update` -->\n"
	tableEnd   = "<!-- imports end -->\n"
)

// table renders the rules as the table of ARCHITECTURE.md.
func table() string {
	var b strings.Builder
	b.WriteString("| package | may import (ours) | never | reason |\n|---|---|---|---|\n")
	for _, r := range rules {
		may := strings.ReplaceAll(strings.Join(r.may, ", "), "internal/", "")
		switch {
		case len(r.may) == 0:
			may = "nothing"
		case r.may[0] == everything:
			may = "everything"
		}
		var never []string
		if r.noThirdParty {
			never = append(never, "third-party modules")
		}
		if len(r.never) > 0 {
			never = append(never, "os, net, log")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", strings.TrimPrefix(r.pkg, "internal/"), may, strings.Join(never, ", "), r.why)
	}
	return b.String()
}

func TestArchitecture_importTableIsFresh(t *testing.T) {
	name := filepath.Join(root(t), "ARCHITECTURE.md")
	doc, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(doc), tableBegin)
	old, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok1 || !ok2 {
		t.Fatalf("ARCHITECTURE.md lacks the marks %q and %q", tableBegin, tableEnd)
	}
	if old == table() {
		return
	}
	if !*update {
		t.Fatal("the import table in ARCHITECTURE.md is stale: run `go test ./test/arch -update`")
	}
	if err := os.WriteFile(name, []byte(before+tableBegin+table()+tableEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Short documents get read. A longer one wants splitting or cutting.
func TestDocs_stayShort(t *testing.T) {
	limits := []struct {
		glob string
		max  int
	}{
		{"ARCHITECTURE.md", 200},
		{"AGENTS.md", 80},
		{"docs/adr/[0-9]*.md", 40},
	}
	for _, l := range limits {
		names, err := filepath.Glob(filepath.Join(root(t), l.glob))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			doc, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(doc), "\n"); n > l.max {
				t.Errorf("%s has %d lines, more than %d", filepath.Base(name), n, l.max)
			}
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestDocs_linksLeadSomewhere(t *testing.T) {
	dir := root(t)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); n == "node_modules" || n == "testdata" || len(n) > 1 && n[0] == '.' {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".md" {
			return nil
		}
		doc, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(doc), -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, ":") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), target)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", name, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
