package api_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
)

// TestNames answers questions about single names. A case is a question and, line by line, the Go strings to ask it of.
func TestNames(t *testing.T) {
	ask := map[string]func(string) any{
		"derive": func(s string) any { return strconv.Quote(api.DeriveUID(s)) },
		"valid":  func(s string) any { return api.ValidUID(s) },
		"known":  func(s string) any { return api.KnownUID(s) },
		"node":   func(s string) any { return api.ValidNodeID(s) },
		"engine": func(s string) any { return strconv.Quote(api.CanonicalEngine(s)) },
		"suffix": func(s string) any {
			return strconv.Quote(api.SuffixUID(s, 2)) + " " + strconv.Quote(api.SuffixUID(s, 1000))
		},
		"source": func(s string) any {
			v, err := api.ParseModelSource(s)
			if err != nil {
				return "error: " + err.Error()
			}
			return v
		},
	}
	runCases(t, "names.txt", func(t *testing.T, lines []string) string {
		question, ok := ask[lines[0]]
		if !ok {
			t.Fatalf("unknown question %q", lines[0])
		}
		var out strings.Builder
		for _, l := range lines[1:] {
			text, times, _ := strings.Cut(l, " * ")
			s, err := strconv.Unquote(text)
			if err != nil {
				t.Fatalf("%s: %v", l, err)
			}
			if n, err := strconv.Atoi(times); err == nil {
				s = strings.Repeat(s, n)
			}
			fmt.Fprintf(&out, "%s -> %v\n", l, question(s))
		}
		return out.String()
	})
}

// The rules as the contract words them, to hold the hand-written ones against.
var (
	newUID   = regexp.MustCompile(`\A[a-z0-9][a-z0-9-]{0,62}\z`)
	knownUID = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._-]{0,62}\z`)
	nodeID   = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._-]{0,252}\z`)
)

// anyName draws names that are often nearly right.
func anyName() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.StringMatching(`[-A-Za-z0-9._/ é]{0,70}`), rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,70}`))
}

func TestNames_followTheContract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyName().Draw(t, "name")
		for what, got := range map[string][2]bool{
			"ValidUID":    {api.ValidUID(s), newUID.MatchString(s)},
			"KnownUID":    {api.KnownUID(s), knownUID.MatchString(s)},
			"ValidNodeID": {api.ValidNodeID(s), nodeID.MatchString(s)},
		} {
			if got[0] != got[1] {
				t.Errorf("%s(%q) = %v", what, s, got[0])
			}
		}
	})
}

func TestDeriveUID_givesALegalUIDOrNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := anyName().Draw(t, "name")
		uid := api.DeriveUID(name)
		if uid != "" && !api.ValidUID(uid) {
			t.Errorf("DeriveUID(%q) = %q is not legal", name, uid)
		}
		if again := api.DeriveUID(uid); again != uid {
			t.Errorf("DeriveUID(%q) = %q, and of that %q", name, uid, again)
		}
		if strings.Contains(uid, "--") || strings.HasSuffix(uid, "-") {
			t.Errorf("DeriveUID(%q) = %q has an empty part", name, uid)
		}
		if legal := strings.ContainsFunc(name, func(r rune) bool {
			return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		}); legal != (uid != "") {
			t.Errorf("DeriveUID(%q) = %q", name, uid)
		}
	})
}

func TestSuffixUID_staysLegalAndDistinct(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		uid := rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`).Draw(t, "uid")
		n, m := rapid.IntRange(2, 1_000_000).Draw(t, "n"), rapid.IntRange(2, 1_000_000).Draw(t, "m")
		got := api.SuffixUID(uid, n)
		if !api.ValidUID(got) || !strings.HasSuffix(got, "-"+strconv.Itoa(n)) {
			t.Errorf("SuffixUID(%q, %d) = %q", uid, n, got)
		}
		if other := api.SuffixUID(uid, m); n != m && got == other {
			t.Errorf("the suffixes %d and %d of %q are both %q", n, m, uid, got)
		}
	})
}
