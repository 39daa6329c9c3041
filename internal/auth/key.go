package auth

import (
	"crypto/rand"
	"hash/crc32"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// The parts of an API key: nb_<id>_<secret><sum>. The sum lets programs that look for leaked secrets tell a key from what only looks like one, and us
// refuse what is none before anything else is done with it.
const (
	keyIDLen     = 12 // of a-z and 0-9
	keySecretLen = 43 // of base62, which are 256 random bits: 62^43 > 2^256
	keySumLen    = 6  // CRC-32 in base62
	keyLen       = len(tokenPrefix) + keyIDLen + 1 + keySecretLen + keySumLen

	lowerDigits = "0123456789abcdefghijklmnopqrstuvwxyz"
	allDigits   = lowerDigits + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// KeySecret is the secret of a key that was just made. Nobody can get it again: what is stored is Hash.
type KeySecret struct {
	ID     string
	Secret api.Token // the whole key
	Hash   string    // its [Digest]
	Prefix string    // what may be shown of it
}

// MakeKey makes a key of 256 random bits.
func MakeKey() KeySecret { return MakeSecret(randomText(keyIDLen, lowerDigits)) }

// MakeSecret makes another secret for the key of that id.
func MakeSecret(id string) KeySecret {
	head := tokenPrefix + id + "_" + randomText(keySecretLen, allDigits)
	whole := head + keySum(head)
	return KeySecret{ID: id, Secret: api.Token(whole), Hash: Digest(whole), Prefix: KeyPrefix(id)}
}

// NewKey makes an API key: its id, and the whole of it, which is shown once and stored only as [Digest].
func NewKey() (id, key string, err error) {
	k := MakeKey()
	return k.ID, string(k.Secret), nil
}

// KeyPrefix is what may be shown of the key with an id.
func KeyPrefix(id string) string { return tokenPrefix + id }

// randomText draws n of at most 64 digits, each as likely as the others.
func randomText(n int, digits string) string {
	out := make([]byte, 0, n)
	var b [64]byte
	for len(out) < n {
		_, _ = rand.Read(b[:]) // never fails, by its documentation
		for _, c := range b {
			if i := int(c & 63); i < len(digits) && len(out) < n {
				out = append(out, digits[i])
			}
		}
	}
	return string(out)
}

func keySum(head string) string {
	sum := crc32.ChecksumIEEE([]byte(head))
	var out [keySumLen]byte
	for i := keySumLen - 1; i >= 0; i-- {
		out[i] = allDigits[sum%62]
		sum /= 62
	}
	return string(out[:])
}

// keyID returns the id in what has the form of a key, and nothing for what has not. The form says nothing about whether there is such a key.
func keyID(key string) string {
	if len(key) != keyLen || !strings.HasPrefix(key, tokenPrefix) {
		return ""
	}
	head, sum := key[:keyLen-keySumLen], key[keyLen-keySumLen:]
	id, secret, cut := strings.Cut(head[len(tokenPrefix):], "_")
	if !cut || len(id) != keyIDLen || strings.Trim(id, lowerDigits) != "" || strings.Trim(secret, allDigits) != "" ||
		keySum(head) != sum { // the sum is no secret: anybody can work it out
		return ""
	}
	return id
}

// authenticateKey tells who may do what with an API key now. A key can do what its own role and its owner's present role both allow; it is dead when
// it has expired or is disabled, and when its owner is gone or disabled.
//
// One SHA-256 is right for a secret of 256 random bits: there is nothing that guessing could begin with, so a slow hash would protect nothing and
// cost every request milliseconds. It would be wrong for anything that a person chose. Whether there is a key of that id makes no difference
// to the work that is done.
func (d Directory) authenticateKey(s *cluster.State, secret string) (Principal, bool) {
	now := d.Now()
	key, found := s.APIKeys.Value(keyID(secret))
	owner, known := s.Users.Value(key.Owner)
	right, former := sameDigest(secret, key.SecretHash), sameDigest(secret, key.FormerHash)
	right = right || former && now.UnixMilli() < key.FormerUntilMS
	role, ok := keyRole(key, owner)
	if !right || !found || !known || !ok || owner.Disabled || !keyLives(key, now) {
		return Principal{}, false
	}
	return Principal{ID: owner.Name, Role: role, Kind: KindUser, KeyID: key.ID, Scopes: key.Scopes}, true
}

func keyLives(key api.APIKey, now time.Time) bool {
	return !key.Disabled && (key.ExpiresAtMS == 0 || now.UnixMilli() < key.ExpiresAtMS)
}

// keyRole is what a key may do: the lesser of its own role and its owner's. A personal token may do without a role of its own.
func keyRole(key api.APIKey, owner api.User) (Role, bool) {
	of, ok := RoleOf(owner.Role)
	if key.Kind == api.KeyPersonal && key.Role == "" {
		return of, ok
	}
	own, valid := RoleOf(key.Role)
	return min(own, of), ok && valid
}
