package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"regexp"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// Token is a join token: an id to look it up by, a secret of 256 bits, and the fingerprint of the cluster's authority, by which the
// machine that joins knows that it speaks to the right cluster.
type Token struct{ ID, Secret, Fingerprint string }

// tokenForm is nbj_ID_SECRET_FINGERPRINT.
var tokenForm = regexp.MustCompile(`^nbj_([a-z2-7]{12})_([a-z2-7]{52})_([0-9a-f]{64})$`)

var base = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewToken makes a token for the cluster of that authority.
func NewToken(fingerprint string) Token {
	b := make([]byte, 40)
	_, _ = rand.Read(b) // never fails, by its documentation
	word := func(b []byte) string { return strings.ToLower(base.EncodeToString(b)) }
	return Token{ID: word(b[:8])[:12], Secret: word(b[8:]), Fingerprint: fingerprint}
}

// String returns the token as people carry it.
func (t Token) String() string { return "nbj_" + t.ID + "_" + t.Secret + "_" + t.Fingerprint }

// ParseToken reads a token. The error never contains it.
func ParseToken(s string) (Token, error) {
	m := tokenForm.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return Token{}, api.Errorf(api.CodeInvalidRequest, "this is not a join token: it should begin with nbj_ and be copied whole; make one with: nebula token create")
	}
	return Token{m[1], m[2], m[3]}, nil
}

// SecretHash is what the store keeps of a token's secret.
func (t Token) SecretHash() string {
	sum := sha256.Sum256([]byte(t.Secret))
	return hex.EncodeToString(sum[:])
}

// Matches tells whether a stored digest is that of the token's secret, in constant time.
func (t Token) Matches(secretHash string) bool {
	return subtle.ConstantTimeCompare([]byte(t.SecretHash()), []byte(secretHash)) == 1
}
