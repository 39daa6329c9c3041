package auth

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// SetupFile is the name of the setup token inside a data directory, for "nebula setup".
const SetupFile = "setup.token"

// setupLife is how long a setup link is good.
const setupLife = 15 * time.Minute

// Setup is the one-time permission to make the first user. A new one is made at each start while there is none; nil permits nothing.
type Setup struct {
	digest  string
	expires time.Time
}

// NewSetup makes a permission and its token, 256 random bits.
func NewSetup(now time.Time) (*Setup, string, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return nil, "", fmt.Errorf("make a setup token: %w", err)
	}
	token := base64.RawURLEncoding.EncodeToString(b)
	return &Setup{Digest(token), now.Add(setupLife)}, token, nil
}

// Valid tells whether a token is the one. That it serves once is the store's matter: with the first user there is nothing more to set up.
func (s *Setup) Valid(token string, now time.Time) bool {
	return s != nil && sameDigest(token, s.digest) && now.Before(s.expires)
}

// KeepSetup writes the token into a data directory, for its owner alone; an empty token removes it.
func KeepSetup(dir, token string) error {
	path := filepath.Join(dir, SetupFile)
	if token == "" {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove the old setup token: %w", err)
		}
		return nil
	}
	if err := renameio.WriteFile(path, []byte(token+"\n"), 0o600, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("write the setup token: %w", err)
	}
	return nil
}
