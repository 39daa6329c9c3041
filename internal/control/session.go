package control

import (
	"context"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// How long sessions live.
const (
	SessionIdle = 30 * time.Minute // since the last request
	SessionLife = 12 * time.Hour   // however busy
)

const (
	maxSessions  = 32 // of one user: the oldest goes
	maxKeys      = 50 // personal tokens of one user
	maxUserAgent = 200
)

// NewSession is a login that was found right.
type NewSession struct {
	ID        string // SHA-256 of the cookie's value, in hex
	User      string
	UserAgent string
	External  bool
	Bearer    bool // of a client of version 1, which believes in the end that it is told: it does not end when it is idle
	// Hash is the stored hash that the password was compared with; it must be that still. Empty for a login without password here.
	Hash string
	// Renewed takes the place of Hash, made with more work; empty: it stays.
	Renewed string
}

// As is the context of somebody whom a login has just made known.
func As(ctx context.Context, user api.User) context.Context {
	who := Caller{}
	if c := CallerOf(ctx); c != nil {
		who = *c
	}
	who.Actor = api.Actor{ID: user.Name, Kind: "user", Role: string(user.Role)}
	return WithCaller(ctx, &who)
}

// errLoggedOut is the answer when a user has changed while the password was compared.
func errLoggedOut() error {
	return api.Errorf(api.CodeUnauthorized, "the user was changed at this moment: try again")
}

// OpenSession stores a login, which is its audit record too.
func (c *Control) OpenSession(ctx context.Context, n NewSession) (api.Session, error) {
	life := SessionIdle
	if n.Bearer {
		life = SessionLife
	}
	lease, err := c.grant(ctx, life)
	if err != nil {
		return api.Session{}, err
	}
	var out api.Session
	err = c.update(ctx, "login", "user/"+n.User, func(tx *store.Tx) error {
		if err := c.mayLogIn(tx, n.User, n.Hash, n.Renewed); err != nil {
			return err
		}
		if err := dropOldest(tx, n.User); err != nil {
			return err
		}
		out = c.newSession(ctx, n)
		return store.Sessions.PutLeased(tx, out.ID, out, lease)
	})
	if err != nil {
		_ = c.fleet.Leases.Revoke(context.WithoutCancel(ctx), lease)
	}
	return out, err
}

func (c *Control) newSession(ctx context.Context, n NewSession) api.Session {
	now, source := c.now(), ""
	if who := CallerOf(ctx); who != nil {
		source = who.Source
	}
	agent := strings.ToValidUTF8(n.UserAgent, "")
	return api.Session{
		ID: n.ID, User: n.User, CreatedAtMS: now.UnixMilli(), ExpiresAtMS: now.Add(SessionLife).UnixMilli(),
		Source: source, UserAgent: strings.ToValidUTF8(agent[:min(len(agent), maxUserAgent)], ""), External: n.External, Bearer: n.Bearer,
	}
}

// mayLogIn fails unless the user is there, enabled, and has the password that was compared.
func (c *Control) mayLogIn(tx *store.Tx, name, hash, renewed string) error {
	u, found, err := store.Users.Get(tx, name)
	if err != nil {
		return err
	}
	if !found || u.Disabled {
		return errLoggedOut()
	}
	if hash == "" {
		return nil
	}
	p, _, err := store.Passwords.Get(tx, name)
	if err != nil {
		return err
	}
	if !sameHash(p.Hash, hash) {
		return errLoggedOut()
	}
	if renewed == "" {
		return nil
	}
	p.Hash = renewed
	return store.Passwords.Put(tx, name, p)
}

// dropOldest makes room for one more session of a user.
func dropOldest(tx *store.Tx, user string) error {
	var oldest *api.Session
	n := 0
	for _, e := range tx.State().Sessions.Refs() {
		if e.Value.User != user {
			continue
		}
		if n++; oldest == nil || e.Value.CreatedAtMS < oldest.CreatedAtMS {
			oldest = &e.Value
		}
	}
	if n < maxSessions {
		return nil
	}
	return store.Sessions.Delete(tx, oldest.ID)
}

// endSessions ends the sessions of a user, but the one to keep.
func endSessions(tx *store.Tx, user, keep string) error {
	for _, e := range tx.State().Sessions.Refs() {
		if e.Value.User != user || e.ID == keep {
			continue
		}
		if err := store.Sessions.Delete(tx, e.ID); err != nil {
			return err
		}
	}
	return nil
}

// CloseSession ends a session by its stored id, as logout does; no error when it is over.
func (c *Control) CloseSession(ctx context.Context, id string) error {
	return c.update(ctx, "logout", "session/"+id[:min(len(id), 16)], func(tx *store.Tx) error {
		if !tx.State().Sessions.Has(id) {
			return nil
		}
		return store.Sessions.Delete(tx, id)
	})
}

// RevokeSession ends a session by the id that people see; only, when user is not empty, one of that user.
func (c *Control) RevokeSession(ctx context.Context, shown, user string) error {
	return c.update(ctx, "session.revoke", "session/"+shown, func(tx *store.Tx) error {
		for _, e := range tx.State().Sessions.Refs() {
			if e.Value.View().ID == shown && (user == "" || e.Value.User == user) {
				return store.Sessions.Delete(tx, e.ID)
			}
		}
		return api.Errorf(api.CodeNotFound, "there is no session %s: it may be over; list them with: nebula session list", asGiven(shown))
	})
}

// TouchSession renews a session's lease: somebody uses it.
func (c *Control) TouchSession(ctx context.Context, id string) error {
	s, _ := c.store.Current()
	e, found := s.Sessions.Get(id)
	keeper, ok := c.fleet.Leases.(interface {
		KeepAlive(ctx context.Context, lease int64) error
	})
	if !found || e.Lease == 0 || !ok {
		return nil
	}
	return keeper.KeepAlive(ctx, e.Lease)
}

// Sessions lists the sessions that are not over, those of one user or, for an empty name, of all.
func Sessions(s *cluster.State, user, current string, now time.Time) []api.SessionView {
	out := []api.SessionView{}
	for _, e := range s.Sessions.Refs() {
		if user != "" && e.Value.User != user || now.UnixMilli() >= e.Value.ExpiresAtMS {
			continue
		}
		v := e.Value.View()
		v.Current = e.ID == current
		out = append(out, v)
	}
	return out
}

// NewPersonalToken is a personal token to store.
type NewPersonalToken struct {
	Key  api.APIKey // ID, SecretHash, Prefix and Name
	User string
	Hash string // as that of NewSession
	Life time.Duration
}

// CreatePersonalToken stores a personal token: a key that may do what its owner may.
func (c *Control) CreatePersonalToken(ctx context.Context, n NewPersonalToken) (api.APIKey, error) {
	var out api.APIKey
	err := c.update(ctx, "token.personal", "key/"+n.Key.ID, func(tx *store.Tx) error {
		if err := c.mayLogIn(tx, n.User, n.Hash, ""); err != nil {
			return err
		}
		u, _, err := store.Users.Get(tx, n.User)
		if err != nil {
			return err
		}
		count := 0
		for _, e := range tx.State().APIKeys.Refs() {
			if e.Value.Owner == n.User && e.Value.Kind == api.KeyPersonal { // keys of programs do not keep people out
				count++
			}
		}
		if count >= maxKeys {
			return api.Errorf(api.CodeConflict, "%s has %d personal tokens, and no more are taken: delete some with: nebula key delete", n.User, count)
		}
		now := c.now()
		out = n.Key
		out.Kind, out.Owner, out.Role = api.KeyPersonal, n.User, u.Role
		out.CreatedAtMS, out.UpdatedAtMS, out.ExpiresAtMS = now.UnixMilli(), now.UnixMilli(), now.Add(n.Life).UnixMilli()
		return store.APIKeys.Put(tx, out.ID, out)
	})
	return out, err
}
