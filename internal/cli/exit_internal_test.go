package cli

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
)

// TestExitCodes_documented: the table in the guide has every exit code that there is, and each of its examples is run by the script beside it.
func TestExitCodes_documented(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../docs/guide/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("../../test/script/testdata/exit.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := []int{exitOK, exitError, exitUsage, exitInterrupted}
	for _, code := range api.Codes() {
		want = append(want, code.ExitCode())
	}
	slices.Sort(want)
	want = slices.Compact(want)
	_, section, _ := strings.Cut(string(guide), "\n## Exit codes\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var got []int
	for _, m := range regexp.MustCompile("(?m)^\\| (\\d+) \\| [^|]+ \\| `(nebula [^`]+)`").FindAllStringSubmatch(section, -1) {
		code, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, code)
		line := map[int]string{0: "exec " + m[2] + "\n", 130: "fails 130 interrupt UID " + m[2] + "\n"}[code]
		if line == "" {
			line = "fails " + m[1] + " " + m[2] + "\n"
		}
		if !strings.Contains(string(script), line) {
			t.Errorf("exit code %d: %q is not in test/script/testdata/exit.txt", code, line)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the guide has %v, the code %v", got, want)
	}
}
