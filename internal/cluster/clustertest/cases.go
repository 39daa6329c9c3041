package clustertest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Cases runs every case in the files that match pattern. A file holds cases divided by blank lines:
//
//	# what it shows
//	…the cluster…
//	----
//	the answer
//
// With update the files are rewritten with the answers of today, to be read as a diff.
func Cases(t *testing.T, pattern string, update bool, answer func(*testing.T, *Cluster) string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no case files match %s (%v)", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runFile(t, file, update, answer) })
	}
}

func runFile(t *testing.T, file string, update bool, answer func(*testing.T, *Cluster) string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cases := strings.Split(strings.TrimSpace(string(raw)), "\n\n")
	var rewritten []string
	for _, text := range cases {
		in, want, _ := strings.Cut(strings.TrimSpace(text)+"\n", "----\n")
		title, _, _ := strings.Cut(in, "\n")
		t.Run(strings.TrimPrefix(title, "# "), func(t *testing.T) {
			c, err := Parse(in)
			if err != nil {
				t.Fatal(err)
			}
			got := answer(t, c)
			rewritten = append(rewritten, in+"----\n"+got)
			if diff := cmp.Diff(want, got); diff != "" && !update {
				t.Errorf("%s: -want +got:\n%s\nin:\n%s", file, diff, in)
			}
		})
	}
	if update && len(rewritten) == len(cases) { // not when -run left some out
		if err := os.WriteFile(file, []byte(strings.Join(rewritten, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
