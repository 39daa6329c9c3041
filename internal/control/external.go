package control

import (
	"context"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// External makes or brings up to date the user whom an OpenID provider has just named, and returns it. Who somebody is goes by issuer and subject
// alone: a name that is another user's is refused, never taken over. The provider's role counts from this login on.
func (c *Control) External(ctx context.Context, id api.ExternalID, req api.CreateUser) (api.User, error) {
	if err := req.Validate(); err != nil {
		return api.User{}, err
	}
	s, _ := c.store.Current()
	if u, found := externalUser(s, id); found && !u.Disabled && sameAbout(u, req) {
		return u, nil // nothing to write
	}
	var out api.User
	err := c.update(ctx, "user.external", "user/"+req.Name, func(tx *store.Tx) error {
		u, found := externalUser(tx.State(), id)
		if !found {
			made, err := c.putNewUser(tx, req, "", "openid")
			if api.HasCode(err, api.CodeConflict) {
				return api.Errorf(api.CodeConflict, "there is another user %s already, so you cannot come in under this name: ask an administrator", req.Name)
			}
			if err != nil {
				return err
			}
			made.External, out = &id, made
			return store.Users.Put(tx, made.Name, made)
		}
		u, found, err := store.Users.Get(tx, u.Name) // for the transaction to hang on it
		switch {
		case err != nil:
			return err
		case !found || u.Disabled:
			return api.Errorf(api.CodeForbidden, "the user %s is disabled here: ask an administrator", u.Name)
		}
		if enabledAdmin(u) && req.Role != api.RoleAdmin {
			if err := anotherAdmin(tx, u.Name); err != nil {
				return err
			}
		}
		u.Role, u.DisplayName, u.Email, u.UpdatedAtMS = req.Role, req.DisplayName, req.Email, c.now().UnixMilli()
		out = u
		return store.Users.Put(tx, u.Name, u)
	})
	return out, err
}

func sameAbout(u api.User, req api.CreateUser) bool {
	return u.Role == req.Role && u.DisplayName == req.DisplayName && u.Email == req.Email
}

// externalUser finds the user of a provider's subject.
func externalUser(s *cluster.State, id api.ExternalID) (api.User, bool) {
	for _, e := range s.Users.Refs() {
		if e.Value.External != nil && *e.Value.External == id {
			return e.Value, true
		}
	}
	return api.User{}, false
}
