package auth

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// The form of an API key: nb_ID_SECRET, of 12 lower-case letters and digits, and of 43 letters and digits, which are 256 random bits.
const (
	keyIDLen     = 12
	keySecretLen = 43
	lowerDigits  = "0123456789abcdefghijklmnopqrstuvwxyz"
	allDigits    = lowerDigits + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// NewKey makes an API key: its id, and the whole of it, which is shown once and stored only as [Digest].
func NewKey() (id, key string, err error) {
	if id, err = randomText(keyIDLen, lowerDigits); err != nil {
		return "", "", err
	}
	secret, err := randomText(keySecretLen, allDigits)
	return id, tokenPrefix + id + "_" + secret, err
}

// KeyPrefix is what may be shown of the key with an id.
func KeyPrefix(id string) string { return tokenPrefix + id }

func randomText(n int, digits string) (string, error) {
	var b strings.Builder
	for range n {
		i, err := rand.Int(rand.Reader, big.NewInt(int64(len(digits))))
		if err != nil {
			return "", fmt.Errorf("make a key: %w", err)
		}
		b.WriteByte(digits[i.Int64()])
	}
	return b.String(), nil
}

// keyID returns the id in what has the form of a key, and nothing for what has not.
func keyID(key string) string {
	rest, ok := strings.CutPrefix(key, tokenPrefix)
	id, secret, cut := strings.Cut(rest, "_")
	if !ok || !cut || len(id) != keyIDLen || len(secret) != keySecretLen ||
		strings.Trim(id, lowerDigits) != "" || strings.Trim(secret, allDigits) != "" {
		return ""
	}
	return id
}

// authenticateKey returns who holds an API key. It can do no more than its owner now may, and nothing without one. The secret is compared also
// when there is no such key.
func (d Directory) authenticateKey(s *cluster.State, secret string) (Principal, bool) {
	key, found := s.APIKeys.Value(keyID(secret))
	right := sameDigest(secret, key.SecretHash)
	owner, known := s.Users.Value(key.Owner)
	role, ok := keyRole(key, owner)
	expired := key.ExpiresAtMS != 0 && d.Now().UnixMilli() >= key.ExpiresAtMS
	if !right || !found || !known || !ok || expired || key.Disabled || owner.Disabled {
		return Principal{}, false
	}
	return Principal{ID: owner.Name, Role: role, Kind: KindUser, KeyID: key.ID, Scopes: key.Scopes}, true
}

// keyRole is what a key may do: the lesser of its own role and its owner's; a personal token has no role of its own.
func keyRole(key api.APIKey, owner api.User) (Role, bool) {
	of, ok := RoleOf(owner.Role)
	if key.Kind == api.KeyPersonal {
		return of, ok
	}
	own, valid := RoleOf(key.Role)
	return min(own, of), ok && valid
}
