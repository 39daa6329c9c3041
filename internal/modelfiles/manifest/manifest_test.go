package manifest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

var update = flag.Bool("update", false, "write the answers into testdata")

// The cases are text: a listing in, the choice out.
//
//	case NAME
//	engine ENGINE
//	files PATTERN…            (optional)
//	index SHARD…              (optional: what model.safetensors.index.json names)
//	  SIZE PATH               (the listing, in its order)
//	want
//	  …
func TestSelectFiles_cases(t *testing.T) {
	names, err := filepath.Glob("testdata/select_*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for i, text := range strings.Split(string(raw), "\ncase ") {
			if i == 0 {
				out.WriteString(text + "\n")
				continue
			}
			in, want, _ := strings.Cut(text, "want\n")
			title, _, _ := strings.Cut(text, "\n")
			got := selectCase(t, in)
			fmt.Fprintf(&out, "case %swant\n%s\n", in, got)
			if !*update && strings.TrimRight(want, "\n") != strings.TrimRight(got, "\n") {
				t.Errorf("%s: %s\ngot:\n%swant:\n%s", name, title, got, want)
			}
		}
		if *update {
			if err := os.WriteFile(name, []byte(strings.TrimRight(out.String(), "\n")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func parseCase(t *testing.T, in string) ([]Entry, Want, Indexes) {
	t.Helper()
	var entries []Entry
	var want Want
	idx := Indexes{}
	for i, line := range strings.Split(in, "\n") {
		f := strings.Fields(line)
		switch {
		case i == 0 || len(f) == 0:
		case f[0] == "engine":
			want.Engine = f[1]
		case f[0] == "files":
			want.Patterns = f[1:]
		case f[0] == "index":
			idx[TensorIndex] = f[1:]
		default:
			n, unit := f[0], int64(1)
			if u := strings.IndexByte("kMG", n[len(n)-1]); u >= 0 {
				n, unit = n[:len(n)-1], []int64{1e3, 1e6, 1e9}[u]
			}
			v, err := strconv.ParseFloat(n, 64)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			name, err := strconv.Unquote(`"` + f[1] + `"`)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			entries = append(entries, Entry{Path: name, Size: int64(v * float64(unit))})
		}
	}
	return entries, want, idx
}

func selectCase(t *testing.T, in string) string {
	t.Helper()
	entries, want, idx := parseCase(t, in)
	var b strings.Builder
	if n := IndexName(entries, want); n != "" {
		fmt.Fprintf(&b, "  reads %s first\n", n)
	}
	m, err := Select(entries, want, idx)
	if err != nil {
		e, ok := fail.As(err)
		if !ok || !e.Final {
			t.Fatalf("selection must fail for good, with an *fail.Error: %v", err)
		}
		return b.String() + fmt.Sprintf("  refused %s %s: %s\n", e.Code, e.Reason, e.Message)
	}
	var listed int64
	for _, e := range entries {
		listed += e.Size
	}
	fmt.Fprintf(&b, "  %s, %s of %s\n", m.Format, fail.Size(m.Total()), fail.Size(listed))
	for _, f := range m.Files {
		mark := " "
		switch f.Path {
		case m.Primary:
			mark = "*"
		case m.MMProj:
			mark = "v"
		}
		fmt.Fprintf(&b, "  %s %s\n", mark, f.Path)
	}
	for _, s := range m.Skipped {
		fmt.Fprintf(&b, "  - %s (%s)\n", s.Path, s.Why)
	}
	return b.String()
}

func TestMatchGlob(t *testing.T) {
	cases := []struct {
		pattern, name string
		want          bool
	}{
		{"*.gguf", "a.gguf", true},
		{"*.gguf", "dir/a.gguf", true}, // "*" crosses "/", as in the Hub's client
		{"*.gguf", "a.GGUF", false},
		{"dir/", "dir/a/b", true},
		{"dir/", "dirt/a", false},
		{"a?c", "abc", true},
		{"a?c", "aéc", true},
		{"a?c", "ac", false},
		{"[ab]x", "bx", true},
		{"[!ab]x", "bx", false},
		{"[a-c]x", "bx", true},
		{"[]]x", "]x", true},
		{"[x", "[x", true},
		{"*Q4*-00001*", "m-Q4_K-00001-of-2", true},
		{"", "", true},
		{"", "a", false},
		{"**", "anything/at all", true},
		{strings.Repeat("*a", 30) + "b", strings.Repeat("a", 200), false}, // must not take for ever
	}
	for _, c := range cases {
		if got := matchGlob(c.pattern, c.name); got != c.want {
			t.Errorf("matchGlob(%q, %q) = %t", c.pattern, c.name, got)
		}
	}
}

// TestMatchGlob_asRegexp compares with a second, slower way to say the same.
func TestMatchGlob_asRegexp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := func(letters string, n int) string {
		b := make([]byte, r.IntN(n))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return string(b)
	}
	for range 4_000 {
		p, n := text("ab*?", 9), text("ab/", 9)
		re := strings.NewReplacer("*", "(?s:.*)", "?", "(?s:.)").Replace(p)
		want := regexp.MustCompile("^" + re + "$").MatchString(n)
		if got := matchGlob(p, n); got != want {
			t.Fatalf("matchGlob(%q, %q) = %t, want %t", p, n, got, want)
		}
	}
}

// TestSelectFiles_properties draws repositories at random: the choice never holds a file that is not listed or twice,
// never half of a split model, and the same listing gives the same choice.
func TestSelectFiles_properties(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pool := []string{
		"config.json", "README.md", "model.safetensors", "model-1.safetensors", "consolidated.safetensors", "onnx/model.onnx",
		"m-Q4_K_M.gguf", "m-Q8_0.gguf", "sub/m-Q2_K.gguf", "mmproj-f16.gguf", "sub/mmproj-Q8_0.gguf", "m-00001-of-00002.gguf",
		"m-00002-of-00002.gguf", "adapter_model.safetensors", "pytorch_model.bin", "preset.ini", "modules.json", "1_Pooling/config.json",
		"model_index.json", "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors", "vae/w-00001-of-00002.bin", "vae/w.safetensors",
	}
	for range 1_000 {
		var entries []Entry
		for _, i := range r.Perm(len(pool))[:r.IntN(len(pool)+1)] {
			entries = append(entries, Entry{Path: pool[i], Size: r.Int64N(1 << 30)})
		}
		want := Want{Engine: api.Engines()[r.IntN(3)]}
		if r.IntN(3) == 0 {
			want.Patterns = []string{[]string{"*", "*.gguf", "Q8_0", "*-00002*", "sub/"}[r.IntN(5)]}
		}
		m, err := Select(entries, want, nil)
		again, err2 := Select(entries, want, nil)
		if fmt.Sprint(m, err) != fmt.Sprint(again, err2) {
			t.Fatalf("%v: two answers", entries)
		}
		if err != nil {
			continue
		}
		seen := map[string]bool{}
		for _, f := range m.Files {
			if seen[f.Path] || !slices.Contains(entries, f) {
				t.Fatalf("%v: chose %v", entries, m.Files)
			}
			seen[f.Path] = true
		}
		if seen["m-00001-of-00002.gguf"] != seen["m-00002-of-00002.gguf"] && want.Engine == api.EngineLlamaCPP {
			t.Fatalf("%v %v: half of a split model: %v", entries, want, m.Files)
		}
		if m.Primary != "" && !seen[m.Primary] || m.MMProj != "" && !seen[m.MMProj] {
			t.Fatalf("%v: primary %q, mmproj %q not among the files", entries, m.Primary, m.MMProj)
		}
	}
}

func TestNameFault_length(t *testing.T) {
	for name, ok := range map[string]bool{
		strings.Repeat("a", 255):           true,
		strings.Repeat("a", 256):           false,
		strings.Repeat("a/", 2047) + "ab":  true,
		strings.Repeat("a/", 2048) + "abc": false,
	} {
		if got := NameFault(name) == ""; got != ok {
			t.Errorf("a name of %d bytes: allowed = %t", len(name), got)
		}
	}
}

// TestSelect_saves adds up what the choice leaves where it is, for listings of the shape of real ones. -v shows it.
func TestSelect_saves(t *testing.T) {
	raw, err := os.ReadFile("testdata/select_repositories.txt")
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range strings.Split(string(raw), "\ncase ") {
		if i == 0 {
			continue
		}
		in, _, _ := strings.Cut(text, "want\n")
		title, _, _ := strings.Cut(text, "\n")
		entries, want, idx := parseCase(t, in)
		m, err := Select(entries, want, idx)
		if err != nil {
			t.Fatal(err)
		}
		var listed int64
		for _, e := range entries {
			listed += e.Size
		}
		times := float64(listed) / float64(m.Total())
		t.Logf("%-55s %8s of %8s, %4.1f times less", title, fail.Size(m.Total()), fail.Size(listed), times)
		if times < 1.5 {
			t.Errorf("%s: only %.1f times less", title, times)
		}
		for _, s := range m.Skipped {
			if s.Why == "" {
				t.Errorf("%s: no reason for %s", title, s.Path)
			}
		}
	}
}
