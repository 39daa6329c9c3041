package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// Limits of file systems that a name must fit.
const (
	MaxSegment = 255 // bytes of one part
	maxName    = 4096
)

// drive is how an absolute path begins on Windows.
var drive = regexp.MustCompile(`^[A-Za-z]:`)

// NameFault says why a listed name must not become a path, or "". A repository cannot hold such a name by accident.
func NameFault(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > maxName:
		return "is longer than 4096 bytes"
	case !utf8.ValidString(name):
		return "is not valid UTF-8"
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }):
		return "contains control characters"
	case strings.Contains(name, `\`):
		return `contains a "\"`
	case strings.HasPrefix(name, "/"), drive.MatchString(name):
		return "is absolute"
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "":
			return "has an empty part"
		case part == "." || part == "..":
			return `contains "` + part + `"`
		case len(part) > MaxSegment:
			return "has a part longer than 255 bytes"
		}
	}
	return ""
}

// CheckNames refuses a listing with a name that could leave its folder, with one that is file and folder at once, or
// with one that occurs twice.
func CheckNames(entries []Entry) error {
	files := make(map[string]bool, len(entries))
	for _, e := range entries {
		if why := NameFault(e.Path); why != "" {
			return unsafeName(e.Path, why)
		}
		if files[e.Path] {
			return unsafeName(e.Path, "is listed twice")
		}
		files[e.Path] = true
	}
	for _, e := range entries {
		for dir := path.Dir(e.Path); dir != "."; dir = path.Dir(dir) {
			if files[dir] {
				return unsafeName(dir, "is both a file and a folder")
			}
		}
	}
	return nil
}

// checkCase refuses two chosen files whose names differ in case only: some disks would make one of them.
func checkCase(files []Entry) error {
	seen := make(map[string]string, len(files))
	for _, f := range files {
		low := strings.ToLower(f.Path)
		if other, ok := seen[low]; ok {
			return unsafeName(f.Path, "differs from "+fail.Quoted([]string{other})+" in case only")
		}
		seen[low] = f.Path
	}
	return nil
}

func unsafeName(name, why string) error {
	return fail.Final(api.FailInvalidModel, fail.UnsafeName,
		"the source lists a file whose name is not safe to write: %q %s. Nothing was fetched; do not use this repository.", fail.Clip(name), why)
}

var (
	sha1Hex   = regexp.MustCompile(`^[0-9a-f]{40}$`)
	sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// Valid tells whether the hash may be used as a file name: the right number of hexadecimal digits.
func (h Hash) Valid() bool {
	switch h.Algo {
	case SHA256:
		return sha256Hex.MatchString(h.Hex)
	case GitSHA1:
		return sha1Hex.MatchString(h.Hex)
	}
	return false
}

// Unknown names a content of which the source tells no hash.
func Unknown(name string, size int64) Hash {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d", name, size))
	return Hash{None, hex.EncodeToString(sum[:])}
}

// Known tells whether the source said what the content is.
func (h Hash) Known() bool { return h.Algo != None }

// IsHex tells whether s is a hash of either kind in hexadecimal.
func IsHex(s string) bool { return sha1Hex.MatchString(s) || sha256Hex.MatchString(s) }

// IsCommit tells whether s is a full git commit, which names one state for ever.
func IsCommit(s string) bool { return sha1Hex.MatchString(s) }

// matchGlob matches as the Hub's own client does (Python's fnmatch): case counts, "*" crosses "/", "?" is one character,
// "[…]" and "[!…]" are sets, and a pattern ending in "/" means everything below. It takes time linear in name × pattern.
func matchGlob(pattern, name string) bool {
	if strings.HasSuffix(pattern, "/") {
		pattern += "*"
	}
	p, n := 0, 0
	star, mark := -1, 0 // where to go on after a "*" that took too little
	for n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			star, mark = p, n
			p++
			continue
		}
		if w, step := matchOne(pattern[p:], name[n:]); step > 0 {
			p, n = p+w, n+step
			continue
		}
		if star < 0 {
			return false
		}
		_, w := utf8.DecodeRuneInString(name[mark:])
		mark += w
		p, n = star+1, mark
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches the first element of pattern with the first character of name and returns the widths of both; 0, 0
// for no match.
func matchOne(pattern, name string) (int, int) {
	if pattern == "" {
		return 0, 0
	}
	r, step := utf8.DecodeRuneInString(name)
	switch pattern[0] {
	case '?':
		return 1, step
	case '[':
		if end := setEnd(pattern); end > 0 {
			if inSet(pattern[1:end], r) {
				return end + 1, step
			}
			return 0, 0
		}
	}
	pr, w := utf8.DecodeRuneInString(pattern)
	if pr != r {
		return 0, 0
	}
	return w, step
}

// setEnd returns the index of the "]" that closes a set, or 0 when it is no set but a plain "[".
func setEnd(pattern string) int {
	from := 1
	if strings.HasPrefix(pattern[from:], "!") {
		from++
	}
	if strings.HasPrefix(pattern[from:], "]") {
		from++
	}
	if i := strings.IndexByte(pattern[from:], ']'); i >= 0 {
		return from + i
	}
	return 0
}

func inSet(set string, r rune) bool {
	set, negated := strings.CutPrefix(set, "!")
	in := false
	runes := []rune(set)
	for i := 0; i < len(runes); i++ {
		if i+2 < len(runes) && runes[i+1] == '-' {
			in = in || runes[i] <= r && r <= runes[i+2]
			i += 2
			continue
		}
		in = in || runes[i] == r
	}
	return in != negated
}
