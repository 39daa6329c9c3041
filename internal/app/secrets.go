package app

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/secret"
)

// secretsKeyFile is the key of stored secrets, in a server's key directory.
const secretsKeyFile = "secrets.key"

// openSecretsKey reads the key of stored secrets. The first one of a cluster is made of its authority's key, which all its servers have: so those
// of a cluster that is older than secrets agree on it without a word, whichever begins first.
func openSecretsKey(dir string, ca *pki.CA) (secret.Key, error) {
	path := filepath.Join(dir, secretsKeyFile)
	k, err := secret.Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	b, err := ca.Derive("nebula stored secrets 1", secret.KeyBytes)
	if err != nil {
		return secret.Key{}, err
	}
	if k, err = secret.NewKey(b); err != nil {
		return secret.Key{}, err
	}
	return k, k.Save(path)
}

// keepSecretsKey writes the key that a server was told when it joined. One that knows none leaves it to [openSecretsKey]; a key of another
// cluster must not stay.
func keepSecretsKey(dir string, told []byte) error {
	path := filepath.Join(dir, secretsKeyFile)
	if len(told) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the key of another cluster's secrets: %w", err)
		}
		return nil
	}
	k, err := secret.NewKey(told)
	if err != nil {
		return err
	}
	return k.Save(path)
}

// openSecret opens a stored secret, or says why this server cannot. Another server may, so what asks goes on to the next one.
func (a *authority) openSecret(dir string) func(api.Secret) (api.Token, error) {
	return func(s api.Secret) (api.Token, error) {
		token, err := a.secrets.Open(s.Name, s.Version, s.Sealed)
		switch {
		case errors.Is(err, secret.ErrOtherKey):
			return "", api.Errorf(api.CodeUnavailable, "the secret %s is sealed with the key %.20s, and this server has the key %s: put %s of the server that sealed it "+
				"into %s and start this one anew, or store the secret again with: nebula secret set %s", s.Name, s.Sealed.KeyID, a.secrets.ID(), secretsKeyFile, dir, s.Name)
		case err != nil:
			return "", api.Errorf(api.CodeUnavailable, "the secret %s cannot be opened, because what is stored was changed or damaged: store it again with: nebula secret set %s",
				s.Name, s.Name)
		}
		return token, nil
	}
}

// warnOfSecrets says at the start what this server will not be able to open.
func (a *authority) warnOfSecrets(s *cluster.State, dir string, log *slog.Logger) {
	var closed []string
	for e := range s.Secrets.All() {
		if e.Value.Sealed.KeyID != a.secrets.ID() {
			closed = append(closed, e.ID)
		}
	}
	if len(closed) > 0 {
		log.Warn("this server cannot open some stored secrets, because another key sealed them: put that server's file here and start anew, or store them again with nebula secret set",
			"secrets", strings.Join(closed, ", "), "key", a.secrets.ID(), "file", filepath.Join(dir, secretsKeyFile))
	}
}
