// Package canary finds secrets that tests plant: in whatever people, programs and disks are told, in clear or in an encoding in which a text travels.
package canary

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Part is how much of a secret, from its begin or its end, counts as the secret: half of one is a leak, too.
const Part = 16

// shortest is how long a text must be to be found in base64.
const shortest = 10

// Secret is what is looked for. It begins and ends with letters and digits: what stands between may be anything, because
// neither JSON nor a URL writes the ends in another way.
type Secret struct {
	clear   [][]byte // lower case, hex included
	encoded [][]byte
}

// New returns the search for a secret.
func New(secret string) (*Secret, error) {
	if len(secret) < shortest {
		return nil, fmt.Errorf("a text of %d characters is too short to be looked for", len(secret))
	}
	s, n := &Secret{}, min(Part, len(secret))
	for _, part := range []string{secret[:n], secret[len(secret)-n:]} {
		s.clear = append(s.clear, []byte(strings.ToLower(part)), []byte(hex.EncodeToString([]byte(part))))
		for shift := range 3 { // three bytes make four of base64, so a word may begin at three places in it; its middle looks the same then
			std := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + part))
			std = std[4 : len(std)-4]
			s.encoded = append(s.encoded, []byte(std))
			if web := strings.NewReplacer("+", "-", "/", "_").Replace(std); web != std {
				s.encoded = append(s.encoded, []byte(web))
			}
		}
	}
	return s, nil
}

// In tells whether a text, whose lower case is given too, holds the begin or the end of the secret: in clear and whatever case, in hex, or in either base64.
func (s *Secret) In(text, lower []byte) bool {
	return slices.ContainsFunc(s.clear, func(part []byte) bool { return bytes.Contains(lower, part) }) ||
		slices.ContainsFunc(s.encoded, func(part []byte) bool { return bytes.Contains(text, part) })
}

// Set is the secrets of one test, by what each is.
type Set struct {
	secrets map[string]*Secret
}

// Plant makes a secret that is nowhere else. What stands for it in messages: it is never printed.
func (s *Set) Plant(what string) string {
	secret := rand.Text()
	_ = s.Add(what, secret) // it is long enough
	return secret
}

// Add looks for a secret that somebody else has made, too.
func (s *Set) Add(what, secret string) error {
	one, err := New(secret)
	if err == nil && len(secret) < Part {
		err = fmt.Errorf("a secret of %d characters may be found by chance", len(secret))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if s.secrets == nil {
		s.secrets = map[string]*Secret{}
	}
	if _, there := s.secrets[what]; there {
		return fmt.Errorf("%s is planted already", what)
	}
	s.secrets[what] = one
	return nil
}

// Len is how many secrets there are.
func (s *Set) Len() int { return len(s.secrets) }

// Leak is a secret where it should not be.
type Leak struct {
	What  string // which secret
	Lines string // the first lines that have it, cut short
}

// Leaks lists the secrets that are in a text, or in a file's bytes, in order of what they are.
func (s *Set) Leaks(text []byte) []Leak {
	text = bytes.Trim(text, "\x00") // files that were made large beforehand
	lower := bytes.ToLower(text)
	var out []Leak
	for _, what := range slices.Sorted(maps.Keys(s.secrets)) {
		if s.secrets[what].In(text, lower) {
			out = append(out, Leak{what, around(text, s.secrets[what])})
		}
	}
	return out
}

// around is the first lines that have a secret.
func around(text []byte, secret *Secret) string {
	var out strings.Builder
	for line := range bytes.Lines(text) {
		if out.Len() < 1000 && secret.In(line, bytes.ToLower(line)) {
			fmt.Fprintf(&out, "%.400q\n", line)
		}
	}
	return out.String()
}
