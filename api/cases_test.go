package api_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the code answers into testdata")

// runCases runs the text cases of every file that matches. A case is some lines, a line "----" and the answer to them;
// an empty line ends it. Lines that start with "#" before a case, and paragraphs of nothing else, are comments.
func runCases(t *testing.T, pattern string, answer func(t *testing.T, lines []string) string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases match %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			old, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			for c := range strings.SplitSeq(strings.TrimSpace(string(old)), "\n\n") {
				out = append(out, runCase(t, strings.TrimSpace(c), answer))
			}
			if fresh := strings.Join(out, "\n\n") + "\n"; *update && fresh != string(old) {
				if err := os.WriteFile(file, []byte(fresh), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func runCase(t *testing.T, text string, answer func(t *testing.T, lines []string) string) string {
	t.Helper()
	input, want, _ := strings.Cut(text, "\n----")
	var lines []string
	for l := range strings.SplitSeq(input, "\n") {
		if !strings.HasPrefix(l, "#") {
			lines = append(lines, l)
		}
	}
	if len(lines) == 0 {
		return text
	}
	got := strings.TrimRight(answer(t, lines), "\n")
	if want = strings.TrimPrefix(want, "\n"); got != want && !*update {
		t.Errorf("%s\n--- got\n%s\n--- want\n%s", strings.Join(lines, "\n"), got, want)
	}
	return input + "\n----\n" + got
}
