package api

import (
	"fmt"
	"strings"
)

// ValidUID applies the rule for new models: [a-z0-9][a-z0-9-]*, at most 63 bytes.
func ValidUID(uid string) bool {
	if uid == "" || len(uid) > MaxUID || uid[0] == '-' {
		return false
	}
	for i := range len(uid) {
		if c := uid[i]; !lowerAlnum(c) && c != '-' {
			return false
		}
	}
	return true
}

// KnownUID applies the wider rule for models that exist already: [A-Za-z0-9][A-Za-z0-9._-]*, at most 63 bytes.
// A key segment that fails it never reaches the store.
func KnownUID(uid string) bool { return validSegment(uid, MaxUID) }

// ValidNodeID applies the rule for node names, which is that of [KnownUID] with up to 253 bytes.
func ValidNodeID(id string) bool { return validSegment(id, 253) }

func validSegment(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := lowerAlnum(c) || 'A' <= c && c <= 'Z'
		if !alnum && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return true
}

func lowerAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// DeriveUID makes a uid of a model's name: lower case, every other byte a "-", runs collapsed, cut to 63 bytes.
// It is empty when nothing of the name is left.
func DeriveUID(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		switch {
		case lowerAlnum(c):
			b.WriteByte(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.TrimRight(b.String()[:min(b.Len(), MaxUID)], "-")
}

// SuffixUID returns uid with "-n" at its end, shortened so that it stays legal.
func SuffixUID(uid string, n int) string {
	suffix := fmt.Sprintf("-%d", n)
	return strings.TrimRight(uid[:min(len(uid), MaxUID-len(suffix))], "-") + suffix
}
