package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/nebula-serve/nebula/api"
)

// argonParams say how much work a guess costs.
type argonParams struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

// OWASP's first choice for argon2id: 19 MiB, two passes, one thread.
var argonNow = argonParams{memory: 19 << 10, time: 2, threads: 1}

// Bounds of what a stored hash may ask for, so that no document can make a server work for minutes.
const (
	maxArgonMemory = 256 << 10 // KiB
	maxArgonTime   = 16
	saltLen        = 16
	hashLen        = 32
)

// hashWait is how long a login waits for its turn.
const hashWait = 5 * time.Second

// Passwords makes and compares the hashes of passwords, few at a time: each takes memory and a core.
type Passwords struct {
	slots  chan struct{}
	derive Derive
}

// Derive makes a hash of a password, as [argon2.IDKey] does.
type Derive func(password, salt []byte, time, memory uint32, threads uint8, keyLen uint32) []byte

// NewPasswords returns one that works on half of the cores.
func NewPasswords() *Passwords { return PasswordsBy(argon2.IDKey) }

// PasswordsBy is NewPasswords with another derivation, for tests that count the work.
func PasswordsBy(derive Derive) *Passwords {
	return &Passwords{slots: make(chan struct{}, max(1, runtime.NumCPU()/2)), derive: derive}
}

// Hash returns what may be stored of a password: argon2id in PHC string format.
func (p *Passwords) Hash(ctx context.Context, password api.Token) (string, error) {
	salt := make([]byte, saltLen)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("make a salt: %w", err)
	}
	sum, err := p.run(ctx, argonNow, password, salt)
	if err != nil {
		return "", err
	}
	return formatPHC(argonNow, salt, sum), nil
}

// Matches tells whether a password is the one of a stored hash, and whether that should be made anew. The work is the same when the hash is
// empty or none, as for a user who does not exist: then nothing matches.
func (p *Passwords) Matches(ctx context.Context, password api.Token, hash string) (right, renew bool, err error) {
	params, salt, want, parseErr := parsePHC(hash)
	if parseErr != nil {
		params, salt, want = argonNow, make([]byte, saltLen), make([]byte, hashLen)
	}
	sum, err := p.run(ctx, params, password, salt)
	if err != nil {
		return false, false, err
	}
	right = subtle.ConstantTimeCompare(sum, want) == 1 && parseErr == nil
	return right, right && params != argonNow, nil
}

func (p *Passwords) run(ctx context.Context, params argonParams, password api.Token, salt []byte) ([]byte, error) {
	wait := time.NewTimer(hashWait)
	defer wait.Stop()
	select {
	case p.slots <- struct{}{}:
	case <-wait.C:
		return nil, api.Errorf(api.CodeUnavailable, "too many people log in at this moment: try again in a moment")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-p.slots }()
	if len(password) > maxPasswordBytes {
		password = password[:maxPasswordBytes] // none so long was ever stored
	}
	return p.derive([]byte(password), salt, params.time, params.memory, params.threads, hashLen), nil
}

// formatPHC writes a hash as $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH.
func formatPHC(p argonParams, salt, sum []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.threads, b64.EncodeToString(salt), b64.EncodeToString(sum))
}

var errNoHash = errors.New("no hash of a password that this version knows")

func parsePHC(s string) (p argonParams, salt, sum []byte, err error) {
	part := strings.Split(s, "$")
	if len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, nil, nil, errNoHash
	}
	if _, err := fmt.Sscanf(part[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil || fmt.Sprintf("m=%d,t=%d,p=%d", p.memory, p.time, p.threads) != part[3] {
		return p, nil, nil, errNoHash
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(part[4])
	sum, err2 := base64.RawStdEncoding.DecodeString(part[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(salt) > 64 || len(sum) != hashLen ||
		p.memory < 8*uint32(p.threads) || p.memory > maxArgonMemory || p.time < 1 || p.time > maxArgonTime || p.threads < 1 {
		return p, nil, nil, errNoHash
	}
	return p, salt, sum, nil
}

// maxPasswordBytes bounds the work: a character has up to four bytes.
const maxPasswordBytes = 4 * api.MaxPassword

//go:embed common.txt
var commonText string

// CheckPassword tells what is wrong with a new password, or nil. It asks for length, and refuses what everybody guesses first; it asks for no
// kinds of characters.
func CheckPassword(password api.Token, user string) error {
	n := utf8.RuneCountInString(string(password))
	reason := ""
	switch {
	case !utf8.ValidString(string(password)) || strings.ContainsRune(string(password), 0):
		reason = "must be text"
	case n < api.MinPassword:
		reason = fmt.Sprintf("has %d characters, and at least %d are needed: a sentence of four or five words is easy to remember", n, api.MinPassword)
	case n > api.MaxPassword:
		reason = fmt.Sprintf("has %d characters, and at most %d are taken", n, api.MaxPassword)
	case guessable(string(password), user):
		reason = "is among those that are guessed first (a common one, a repetition, or the user's own name): choose another"
	}
	if reason == "" {
		return nil
	}
	return &api.Error{Code: api.CodeInvalidRequest, Message: "the password " + reason, Details: []api.Field{{Field: "password", Reason: reason}}}
}

// minRest is how much of a password must be left when common words, the user's name and the product's are taken out of it.
const minRest = 6

// guessable tells whether hardly anything is left of a password without what everybody knows.
func guessable(password, user string) bool {
	rest := strings.ToLower(password)
	words := append(strings.Fields(commonText), "nebula")
	if local, _, _ := strings.Cut(user, "@"); len(local) >= 3 {
		words = append(words, user, local)
	}
	for _, w := range words {
		rest = strings.ReplaceAll(rest, w, "")
	}
	seen := map[rune]bool{}
	for _, r := range rest {
		if r > ' ' && !strings.ContainsRune("-_.,!?", r) {
			seen[r] = true
		}
	}
	return len(seen) < minRest
}
