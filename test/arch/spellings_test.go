package arch

import (
	"go/ast"
	"regexp"
	"strconv"
	"testing"
)

// spellings is how many rows the contract has about what is spelled in several ways: M1 to M25. All spellings are accepted, and one is emitted.
const spellings = 25

var spellingTest = regexp.MustCompile(`^TestM(\d+)_`)

// TestSpellings_haveTests: each of the rows has a test that bears its number, where it lives.
func TestSpellings_haveTests(t *testing.T) {
	tested := map[int]bool{}
	for _, s := range load(t) {
		for _, f := range s.files {
			for _, d := range f.ast.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || !f.test {
					continue
				}
				if m := spellingTest.FindStringSubmatch(fn.Name.Name); m != nil {
					n, err := strconv.Atoi(m[1])
					if err != nil || n < 1 || n > spellings {
						t.Errorf("%s: %s: there is no row M%s", f.at(fn.Pos()), fn.Name.Name, m[1])
					}
					tested[n] = true
				}
			}
		}
	}
	for n := 1; n <= spellings; n++ {
		if !tested[n] {
			t.Errorf("row M%d of the contract's spellings has no test: write a TestM%d_… where it lives", n, n)
		}
	}
}
