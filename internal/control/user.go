package control

import (
	"context"
	"crypto/subtle"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// maxUsers bounds the number of users.
const maxUsers = 10_000

// CreateUser makes a user. Hash is that of the password; empty: the user has none.
func (c *Control) CreateUser(ctx context.Context, req api.CreateUser, hash string) (api.User, error) {
	if err := req.Validate(); err != nil {
		return api.User{}, err
	}
	return create(ctx, c, "user.create", "user/"+req.Name, func(tx *store.Tx) (api.User, error) { return c.putNewUser(tx, req, hash, by(ctx)) })
}

func (c *Control) putNewUser(tx *store.Tx, req api.CreateUser, hash, by string) (api.User, error) {
	_, exists, err := store.Users.Get(tx, req.Name)
	switch {
	case err != nil:
		return api.User{}, err
	case exists:
		return api.User{}, api.Errorf(api.CodeConflict, "there is a user %s already: choose another name, or change that one with: nebula user update %s", req.Name, req.Name)
	case tx.State().Users.Len() >= maxUsers:
		return api.User{}, api.Errorf(api.CodeConflict, "there are %d users, and no more are taken", maxUsers)
	}
	now := c.now().UnixMilli()
	u := api.User{Name: req.Name, Role: req.Role, DisplayName: req.DisplayName, Email: req.Email, CreatedAtMS: now, UpdatedAtMS: now, CreatedBy: by}
	if hash != "" {
		if err := store.Passwords.Put(tx, u.Name, api.Password{Name: u.Name, Hash: hash, ChangedAtMS: now}); err != nil {
			return api.User{}, err
		}
	}
	return u, store.Users.Put(tx, u.Name, u)
}

// UpdateUser changes what is said of a user. Who is disabled is logged out everywhere; a role counts at once.
func (c *Control) UpdateUser(ctx context.Context, name string, req api.UpdateUser) (api.User, error) {
	return c.UpdateUserAndPassword(ctx, name, req, "")
}

// UpdateUserAndPassword is UpdateUser with another password at the same time, which ends the user's sessions; an empty hash: the password stays.
func (c *Control) UpdateUserAndPassword(ctx context.Context, name string, req api.UpdateUser, hash string) (api.User, error) {
	if err := req.Validate(); err != nil {
		return api.User{}, err
	}
	return c.changeUser(ctx, "user.update", name, func(tx *store.Tx, u *api.User) error {
		wasAdmin := enabledAdmin(*u)
		if req.Role != nil {
			u.Role = *req.Role
		}
		if req.Disabled != nil {
			u.Disabled = *req.Disabled
		}
		assign(&u.DisplayName, req.DisplayName)
		assign(&u.Email, req.Email)
		if wasAdmin && !enabledAdmin(*u) {
			if err := anotherAdmin(tx, name); err != nil {
				return err
			}
		}
		switch {
		case hash != "":
			return c.setPassword(tx, u, hash, "")
		case u.Disabled:
			return endSessions(tx, name, "")
		}
		return nil
	})
}

// UpdateSettings changes what a user has chosen in a client of version 1.
func (c *Control) UpdateSettings(ctx context.Context, name string, req api.V1UpdateSettings) (api.User, error) {
	return c.changeUser(ctx, "settings.update", name, func(_ *store.Tx, u *api.User) error {
		if req.InAppAlerts != nil {
			u.InAppAlertsOff = !*req.InAppAlerts
		}
		if req.EmailAlerts != nil {
			u.EmailAlerts = *req.EmailAlerts
		}
		return nil
	})
}

// UpdateProfile changes what a user says of himself or herself.
func (c *Control) UpdateProfile(ctx context.Context, name string, req api.UpdateProfile) (api.User, error) {
	if err := req.Validate(); err != nil {
		return api.User{}, err
	}
	return c.changeUser(ctx, "profile.update", name, func(_ *store.Tx, u *api.User) error {
		assign(&u.DisplayName, req.DisplayName)
		assign(&u.Email, req.Email)
		return nil
	})
}

// sameHash compares hashes of passwords, in a time that does not tell how much of them is alike.
func sameHash(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// SetPassword gives a user another password and ends the user's sessions but the one to keep. When was is not empty it must be the stored
// hash of the present password, which was just compared: of two changes at the same time one is refused.
func (c *Control) SetPassword(ctx context.Context, name, hash, was, keep string) error {
	_, err := c.changeUser(ctx, "user.password", name, func(tx *store.Tx, u *api.User) error {
		old, _, err := store.Passwords.Get(tx, name)
		switch {
		case err != nil:
			return err
		case was != "" && !sameHash(old.Hash, was):
			return api.Errorf(api.CodeConflict, "the password was changed meanwhile, and is as that change made it")
		}
		return c.setPassword(tx, u, hash, keep)
	})
	return err
}

func (c *Control) setPassword(tx *store.Tx, u *api.User, hash, keep string) error {
	if u.External != nil {
		return api.Errorf(api.CodeConflict, "the user %s logs in through %.200s and has no password here", u.Name, u.External.Issuer)
	}
	if err := store.Passwords.Put(tx, u.Name, api.Password{Name: u.Name, Hash: hash, ChangedAtMS: c.now().UnixMilli()}); err != nil {
		return err
	}
	return endSessions(tx, u.Name, keep)
}

func (c *Control) changeUser(ctx context.Context, verb, name string, change func(*store.Tx, *api.User) error) (api.User, error) {
	var out api.User
	if !api.ValidUserName(name) {
		return out, noUser(name)
	}
	err := c.update(ctx, verb, "user/"+name, func(tx *store.Tx) error {
		u, found, err := store.Users.Get(tx, name)
		if err != nil {
			return err
		}
		if !found {
			return noUser(name)
		}
		before := u
		if err := change(tx, &u); err != nil {
			return err
		}
		if u != before {
			u.UpdatedAtMS = c.now().UnixMilli()
		}
		out = u
		return store.Users.Put(tx, name, u)
	})
	return out, err
}

// DeleteUser removes a user with password, sessions and keys: a user of the same name later inherits nothing.
func (c *Control) DeleteUser(ctx context.Context, name string) error {
	if !api.ValidUserName(name) {
		return noUser(name)
	}
	return c.update(ctx, "user.delete", "user/"+name, func(tx *store.Tx) error {
		u, found, err := store.Users.Get(tx, name)
		if err != nil {
			return err
		}
		if !found {
			return noUser(name)
		}
		if enabledAdmin(u) {
			if err := anotherAdmin(tx, name); err != nil {
				return err
			}
		}
		if err := endSessions(tx, name, ""); err != nil {
			return err
		}
		for _, k := range tx.State().APIKeys.Refs() {
			if k.Value.Owner != name {
				continue
			}
			if err := store.APIKeys.Delete(tx, k.ID); err != nil {
				return err
			}
		}
		if err := store.Passwords.Delete(tx, name); err != nil {
			return err
		}
		return store.Users.Delete(tx, name)
	})
}

// enabledAdmin tells whether a user can administer the cluster.
func enabledAdmin(u api.User) bool { return u.Role == api.RoleAdmin && !u.Disabled }

// anotherAdmin fails unless there is an administrator beside name, and makes the commit depend on that one: of two administrators who remove
// each other at the same time one stays.
func anotherAdmin(tx *store.Tx, name string) error {
	for _, e := range tx.State().Users.Refs() {
		if e.ID == name || !enabledAdmin(e.Value) {
			continue
		}
		other, found, err := store.Users.Get(tx, e.ID)
		if err != nil {
			return err
		}
		if found && enabledAdmin(other) {
			return nil
		}
	}
	return api.Errorf(api.CodeConflict, "%s is the last administrator, and a cluster needs one: make another user an administrator first, with: nebula user update NAME --role admin", name)
}

func noUser(name string) error {
	return api.Errorf(api.CodeNotFound, "there is no user %.80q; list them with: nebula user list", name)
}

// Users lists users in the order of their names.
func Users(s *cluster.State) []api.User {
	out := []api.User{}
	for _, e := range s.Users.Refs() {
		out = append(out, e.Value)
	}
	return out
}

// User returns one user.
func User(s *cluster.State, name string) (api.User, error) {
	u, found := s.Users.Value(name)
	if !found {
		return u, noUser(name)
	}
	return u, nil
}
