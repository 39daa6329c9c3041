package control

import (
	"context"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// Sealer seals the value of a secret so that only servers can open it; secret.Key is one.
type Sealer interface {
	Seal(name string, version uint64, value api.Token) (api.Sealed, error)
}

// WithSecrets returns a Control on the same store that also takes secrets.
func (c *Control) WithSecrets(s Sealer) *Control {
	other := *c
	other.sealer = s
	return &other
}

// PutSecret stores a secret, or gives the one of that name another value. Models that failed for want of a right one are tried again.
func (c *Control) PutSecret(ctx context.Context, name string, req api.PutSecret) (api.SecretView, error) {
	if err := req.Validate(name); err != nil {
		return api.SecretView{}, err
	}
	if c.sealer == nil {
		return api.SecretView{}, api.Errorf(api.CodeUnavailable, "this server has no key for secrets: use another server of the cluster")
	}
	var out api.Secret
	err := c.update(ctx, "secret.set", "secret/"+name, func(tx *store.Tx) error {
		now := c.now().UnixMilli()
		next, exists, err := store.Secrets.Get(tx, name)
		if err != nil {
			return err
		}
		if !exists {
			next = api.Secret{Name: name, CreatedAtMS: now, CreatedBy: by(ctx)}
		}
		next.Version = max(next.Version+1, uint64(max(now, 0))) // the time, so that a secret that was deleted does not begin anew
		next.UpdatedAtMS, next.UpdatedBy = now, by(ctx)
		if next.Sealed, err = c.sealer.Seal(name, next.Version, req.Value); err != nil {
			return err
		}
		out = next
		return store.Secrets.Put(tx, name, next)
	})
	if err != nil {
		return api.SecretView{}, err
	}
	return cluster.SecretView(c.After(ctx), &out), nil
}

// DeleteSecret forgets a secret. One that models name is refused unless force is set; those can then fetch nothing that needs it.
func (c *Control) DeleteSecret(ctx context.Context, name string, force bool) error {
	if !api.ValidSecretName(name) {
		return noSecret(name)
	}
	err := c.update(ctx, "secret.delete", "secret/"+name, func(tx *store.Tx) error {
		_, exists, err := store.Secrets.Get(tx, name)
		if err == nil && !exists {
			return noSecret(name)
		}
		if users := cluster.SecretUsers(tx.State(), name); len(users) > 0 && !force {
			return api.Errorf(api.CodeConflict, "the secret %s is used by %s: give %s another one or none, or delete it all the same with --force",
				name, strings.Join(users[:min(len(users), 10)], ", "), them(len(users)))
		}
		return store.Secrets.Delete(tx, name) // also one that cannot be read
	})
	return err
}

func them(n int) string {
	if n == 1 {
		return "that model"
	}
	return "those models"
}

func noSecret(name string) error {
	return api.Errorf(api.CodeNotFound, "there is no secret %.80q; list them with: nebula secret list", name)
}

// nameSecret lets a model name a secret, which must be there. Of this and a deletion of the secret at the same time one has to look again.
func nameSecret(tx *store.Tx, name string) error {
	if name == "" {
		return nil
	}
	s, exists, err := store.Secrets.Get(tx, name)
	if err != nil {
		return err
	}
	if exists {
		s.Named++
		return store.Secrets.Put(tx, name, s)
	}
	return &api.Error{
		Code: api.CodeInvalidRequest, Message: "token_secret names the secret " + name + ", which does not exist: store it first with: nebula secret set " + name,
		Details: []api.Field{{Field: "token_secret", Reason: "does not exist"}},
	}
}
