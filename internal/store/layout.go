package store

import (
	"strconv"
	"strings"
)

// layout is how the keys of a table look: prefix, one or more checked segments, suffix. The segments between
// prefix and suffix, joined by "/", are the document's id. Both directions check every segment, so nothing that
// comes from outside becomes part of a key unchecked, and no foreign key becomes a document.
type layout struct {
	prefix   string // "/nodes/"
	segments []func(string) bool
	suffix   string // "/status", or empty
}

func (l layout) key(id string) (string, bool) {
	if !l.legal(id) {
		return "", false
	}
	return l.prefix + id + l.suffix, true
}

func (l layout) id(key string) (string, bool) {
	rest, ok := strings.CutPrefix(key, l.prefix)
	if !ok {
		return "", false
	}
	id, ok := strings.CutSuffix(rest, l.suffix)
	return id, ok && l.legal(id)
}

func (l layout) legal(id string) bool {
	for i, legal := range l.segments {
		segment, rest, more := strings.Cut(id, "/")
		if more != (i < len(l.segments)-1) || !legal(segment) {
			return false
		}
		id = rest
	}
	return true
}

// replicaNumber accepts a replica id in its one spelling: "1", never "01" or "+1".
func replicaNumber(s string) bool {
	n, err := strconv.ParseUint(s, 10, 32)
	return err == nil && strconv.FormatUint(n, 10) == s
}

// digest accepts a SHA-256 in lower-case hex.
func digest(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
