// Package auth decides who is calling and what they may do: roles, credentials and the comparison of secrets. It speaks no HTTP
// and never keeps a secret in clear.
package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/nebula-serve/nebula/api"
)

// Role is what a caller may do. Those of people are ordered: each may do all that the one before it may.
type Role int

// The roles. Public needs no credential; Inference may only use models.
const (
	Public Role = iota
	Inference
	Viewer
	Operator
	Admin

	// The roles of machines stand apart from this order: a machine may do what its own role names and nothing else. Machine, as the need
	// of a route, lets every machine through.
	Node
	Gateway
	Server
	Machine
)

// String returns the role's name.
func (r Role) String() string {
	return [...]string{"public", "inference", "viewer", "operator", "admin", "node", "gateway", "server", "machine"}[r]
}

// Kind is how a principal is known.
type Kind string

// The kinds.
const (
	KindUser      Kind = "user"    // by a session, or a key of the user's
	KindMachine   Kind = "machine" // by its certificate
	KindStatic    Kind = "static"  // by a token of the server's own configuration
	KindAnonymous Kind = "anonymous"
)

// Principal is an authenticated caller. ID is a name, never the credential; of a machine it is the machine's id.
type Principal struct {
	ID   string
	Role Role
	Kind Kind
	// KeyID is that of the API key that was shown; empty: there was none.
	KeyID string
	// Scopes narrow what a key may do.
	Scopes api.Scopes
	// Session is the stored id of the login that was shown, in a cookie; empty: there was none.
	Session string
}

// IsMachine tells whether the caller is a machine of the cluster.
func (p Principal) IsMachine() bool { return p.Role >= Node }

// May tells whether the caller may use something that needs role.
func (p Principal) May(role Role) bool {
	switch {
	case role == Public:
		return true
	case p.IsMachine():
		return role == p.Role || role == Machine
	}
	return role <= Admin && p.Role >= role
}

// Keyring knows the credentials that are valid now. It is immutable.
type Keyring struct {
	keys []key
}

type key struct {
	digest [sha256.Size]byte
	who    Principal
}

// With returns a keyring that also accepts secret. Only its digest is kept; a fast digest is right because the
// secrets are 256 random bits.
func (k Keyring) With(secret string, who Principal) Keyring {
	return Keyring{append(slices.Clip(k.keys), key{sha256.Sum256([]byte(secret)), who})}
}

// WithDigest is With for a secret of which only the digest, hex, is known. What is no digest lets nobody in.
func (k Keyring) WithDigest(digest string, who Principal) Keyring {
	b, err := hex.DecodeString(digest)
	if err != nil || len(b) != sha256.Size {
		return k
	}
	return Keyring{append(slices.Clip(k.keys), key{[sha256.Size]byte(b), who})}
}

// Digest is what may be stored of a secret of 256 random bits: its SHA-256, hex.
func Digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Authenticate returns who holds secret. It takes the same time whichever key matches, or none.
func (k Keyring) Authenticate(secret string) (Principal, bool) {
	digest := sha256.Sum256([]byte(secret))
	var who Principal
	var ok bool
	for _, c := range k.keys {
		if subtle.ConstantTimeCompare(digest[:], c.digest[:]) == 1 {
			who, ok = c.who, true
		}
	}
	return who, ok && secret != ""
}

// TokenFile is the name of the admin credential inside a data directory.
const TokenFile = "admin.token"

const tokenPrefix = "nb_"

// AdminToken returns the admin credential of a data directory and makes one of 256 random bits at the first start, in a file
// that only its owner may read. A file that others may read is refused.
func AdminToken(dir string) (token string, created bool, err error) {
	path := filepath.Join(dir, TokenFile)
	token, err = ReadToken(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return token, false, err
	}
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return "", false, fmt.Errorf("make the admin credential: %w", err)
	}
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
	if err := renameio.WriteFile(path, []byte(token+"\n"), 0o600, renameio.IgnoreUmask()); err != nil {
		return "", false, fmt.Errorf("write the admin credential: %w", err)
	}
	return token, true, nil
}

// ReadToken reads a credential file and checks that it is private.
func ReadToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return "", fmt.Errorf("others may read the credential in %s (mode %04o): run chmod 600 %s", path, perm, path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(b))
	if len(token) < 32 {
		return "", fmt.Errorf("%s holds no usable credential: delete it, and the next start makes a new one", path)
	}
	return token, nil
}
