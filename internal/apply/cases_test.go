package apply_test

import (
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/apply"
)

var update = flag.Bool("update", false, "write what the code answers into testdata")

// runCases runs every archive of a folder under testdata: files go in, and what comes out is the file "answer".
func runCases(t *testing.T, dir string, answer func(t *testing.T, files []txtar.File) string) {
	t.Helper()
	cases, err := filepath.Glob(filepath.Join("testdata", dir, "*.txt"))
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases in testdata/%s: %v", dir, err)
	}
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			in, want := a.Files, ""
			if n := len(in) - 1; n >= 0 && in[n].Name == "answer" {
				in, want = in[:n], string(in[n].Data)
			}
			got := strings.TrimRight(answer(t, in), "\n") + "\n"
			if got == want {
				return
			}
			if !*update {
				t.Fatalf("%s\n--- got\n%s--- want\n%s", a.Comment, got, want)
			}
			a.Files = append(slices.Clip(in), txtar.File{Name: "answer", Data: []byte(got)})
			if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// escapes lets a case hold what a text file should not: \t, \r, a byte order mark.
var escapes = strings.NewReplacer(`<TAB>`, "\t", `<CR>`, "\r", `<BOM>`, "\ufeff", `<FF>`, "\xff", `<NUL>`, "\x00")

func parse(files []txtar.File) ([]apply.Doc, error) {
	var in []apply.File
	for _, f := range files {
		in = append(in, apply.File{Name: f.Name, Data: []byte(escapes.Replace(string(f.Data)))})
	}
	return apply.Parse(in)
}

func TestParse(t *testing.T) {
	runCases(t, "parse", func(_ *testing.T, files []txtar.File) string {
		docs, err := parse(files)
		if err != nil {
			return "error " + codeOf(err) + "\n" + err.Error()
		}
		var b strings.Builder
		for _, d := range docs {
			b.WriteString(d.At.String() + " " + d.String() + " " + string(d.Patch) + "\n")
		}
		return b.String()
	})
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return string(e.Code)
	}
	return "without a code"
}

// TestPlan plans from what the files named live*.yaml say to what the others say. An option is a line in the comment of "options".
func TestPlan(t *testing.T) {
	runCases(t, "plan", func(t *testing.T, files []txtar.File) string {
		var have, want []txtar.File
		var o apply.Options
		selected := ""
		for _, f := range files {
			switch {
			case strings.HasPrefix(f.Name, "live"):
				have = append(have, f)
			case f.Name == "options":
				for word := range strings.FieldsSeq(string(f.Data)) {
					o.Whole = o.Whole || word == "whole"
					if label, ok := strings.CutPrefix(word, "prune="); ok {
						o.Prune, selected = true, label
					}
				}
			default:
				want = append(want, f)
			}
		}
		live := cluster(t, have)
		o.Selected = func(r apply.Ref) bool { return strings.Contains(string(live[r].Doc), selected) }
		docs, err := parse(want)
		if err != nil {
			t.Fatal(err)
		}
		changes, err := apply.Plan(docs, live, o)
		if err != nil {
			return "error " + codeOf(err) + "\n" + err.Error()
		}
		return show(t, changes)
	})
}

// cluster is what a cluster has after it was given documents.
func cluster(t *testing.T, files []txtar.File) map[apply.Ref]apply.Object {
	t.Helper()
	docs, err := parse(files)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := apply.Plan(docs, nil, apply.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return after(nil, changes)
}

func show(t *testing.T, changes []apply.Change) string {
	t.Helper()
	var b strings.Builder
	for _, c := range changes {
		verbs := "unchanged"
		if len(c.Verbs) > 0 {
			verbs = strings.Join(words(c.Verbs), ", ")
		}
		at := ""
		if c.At.File != "" {
			at = " (" + c.At.String() + ")"
		}
		b.WriteString(c.String() + ": " + verbs + at + "\n")
		d, err := c.Diff()
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(d)
		b.WriteString(requests(t, &c))
	}
	return b.String()
}

func words(verbs []apply.Verb) []string {
	var out []string
	for _, v := range verbs {
		out = append(out, string(v))
	}
	return out
}

// requests are those that carry a change out.
func requests(t *testing.T, c *apply.Change) string {
	t.Helper()
	if len(c.Verbs) == 0 {
		return ""
	}
	var b strings.Builder
	line := func(what string, body any) {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(what + " " + string(text) + "\n")
	}
	if c.Kind == apply.KindTemplate {
		w, err := c.TemplateWrites()
		if err != nil {
			t.Fatal(err)
		}
		if w.Create != nil {
			line("POST", w.Create)
		}
		if w.Update != nil {
			line("PUT", w.Update)
		}
		return b.String()
	}
	w, err := c.ModelWrites()
	if err != nil {
		t.Fatal(err)
	}
	if w.Create != nil {
		line("POST", w.Create)
	}
	if w.Update != nil {
		line("PUT", w.Update)
	}
	if w.Deployment != nil {
		line("PUT deployment", w.Deployment)
	}
	if w.Delete {
		b.WriteString("DELETE\n")
	}
	return b.String()
}

// after is what a cluster has once changes were carried out on it.
func after(live map[apply.Ref]apply.Object, changes []apply.Change) map[apply.Ref]apply.Object {
	out := maps.Clone(live)
	if out == nil {
		out = map[apply.Ref]apply.Object{}
	}
	for _, c := range changes {
		if c.Wished == nil {
			delete(out, c.Ref)
			continue
		}
		out[c.Ref] = apply.Object{Ref: c.Ref, Revision: c.Revision + 1, Doc: c.Wished}
	}
	return out
}
