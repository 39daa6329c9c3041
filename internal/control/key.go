package control

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// KeyHolder is who manages keys, and what they may do themselves: nobody makes or gets a key that can do more.
type KeyHolder struct {
	User   string   // whose keys they manage; "" = they are no user
	Role   api.Role // what they may do now; admins manage the keys of all
	KeyID  string   // of the key that they show; "" = none
	Scopes api.Scopes
}

// KeySecret is the secret of a key that was just made. Only the answer has Secret; the store gets the rest.
type KeySecret struct {
	ID     string
	Secret api.Token
	Hash   string
	Prefix string
}

// maxKeysOf bounds the keys of one user.
const maxKeysOf = 500

// owns tells whether a holder may see and manage keys of owner.
func (h KeyHolder) owns(owner string) bool {
	return h.Role == api.RoleAdmin || h.User != "" && h.User == owner
}

// holds refuses a key that can do more than its holder.
func (h KeyHolder) holds(key *api.APIKey, owner *api.User) error {
	role := key.Role
	if key.Kind == api.KeyPersonal && role == "" || !role.AtMost(owner.Role) {
		role = owner.Role
	}
	switch {
	case !role.AtMost(h.Role):
		return api.Errorf(api.CodeForbidden, "this key has the role %s, and you have %s: nobody manages a key that can do more than they can", role, h.Role)
	case !h.Scopes.Covers(key.Scopes):
		return api.Errorf(api.CodeForbidden, "this key can do more than the one that you show, whose scopes are narrower: use a credential without those limits")
	}
	return nil
}

func noKey(id string) error {
	return api.Errorf(api.CodeNotFound, "there is no key %s; list them with: nebula key list", asGiven(id))
}

// maxShownID is longer than any id of a key, a session or a join token.
const maxShownID = 24

// asGiven is an id as an error repeats it. What is longer than ids are may be the secret itself, given where its id is meant: that is not repeated.
func asGiven(id string) string {
	if len(id) > maxShownID {
		return "of that id (it is too long for one: give the id alone, never the secret)"
	}
	return strconv.Quote(id)
}

// Keys lists the keys that a holder may see: those of owner, or, when that is empty, all of them for admins and their own for others.
func (c *Control) Keys(h KeyHolder, owner string) ([]api.KeyView, error) {
	switch {
	case h.Role == api.RoleAdmin:
	case owner != "" && !h.owns(owner):
		return nil, api.Errorf(api.CodeForbidden, "only admins see the keys of others: leave owner out")
	case h.User == "": // a credential of the server's own configuration owns no keys
		return []api.KeyView{}, nil
	default:
		owner = h.User
	}
	s, _ := c.store.Current()
	return cluster.KeyViews(s, owner, c.now()), nil
}

// Key returns one key. One of somebody else's is not there, for all who are no admins.
func (c *Control) Key(h KeyHolder, id string) (api.KeyView, error) {
	s, _ := c.store.Current()
	key, ok := s.APIKeys.Value(id)
	if !ok || !h.owns(key.Owner) {
		return api.KeyView{}, noKey(id)
	}
	return cluster.KeyView(s, &key, c.now()), nil
}

// CreateKey makes a key. Only this answer has its secret.
func (c *Control) CreateKey(ctx context.Context, h KeyHolder, req api.CreateKey, made KeySecret) (api.KeyCreated, error) {
	if err := req.Validate(); err != nil {
		return api.KeyCreated{}, err
	}
	if req.Role == "" {
		req.Role = api.RoleInference
	}
	switch {
	case req.Owner == "" && h.User == "":
		return api.KeyCreated{}, invalid("owner", "is needed, because your credential is no user's: name the user whose key it is (with --owner); without users yet, make the first with: nebula setup")
	case req.Owner == "":
		req.Owner = h.User
	case !h.owns(req.Owner):
		return api.KeyCreated{}, api.Errorf(api.CodeForbidden, "only admins make keys for others: leave owner out")
	}
	now := c.now()
	doc := api.APIKey{
		ID: made.ID, Kind: api.KeyPlain, Name: req.Name, Owner: req.Owner, Role: req.Role, Scopes: req.Scopes, SecretHash: made.Hash, Prefix: made.Prefix,
		CreatedAtMS: now.UnixMilli(), UpdatedAtMS: now.UnixMilli(),
	}
	out, err := create(ctx, c, "key.create", "key/"+doc.ID, func(tx *store.Tx) (api.KeyCreated, error) {
		doc := doc
		owner, err := ownerOf(tx, doc.Owner)
		if err != nil {
			return api.KeyCreated{}, err
		}
		if !doc.Role.AtMost(owner.Role) {
			return api.KeyCreated{}, invalid("role", fmt.Sprintf("is more than %s has, who is %s: a key can do no more than its owner", owner.Name, owner.Role))
		}
		if doc.ExpiresAtMS, err = expiry(tx, h, now, req.ExpiresInDays); err != nil {
			return api.KeyCreated{}, err
		}
		if err := h.holds(&doc, &owner); err != nil {
			return api.KeyCreated{}, err
		}
		if n := len(cluster.KeyViews(tx.State(), doc.Owner, now)); n >= maxKeysOf {
			return api.KeyCreated{}, api.Errorf(api.CodeConflict, "%s has %d keys, and no user may have more: delete some first", doc.Owner, n)
		}
		if _, taken, err := store.APIKeys.Get(tx, doc.ID); err != nil || taken {
			return api.KeyCreated{}, api.Errorf(api.CodeConflict, "by a rare chance the key got an id that there is already: try again")
		}
		view := cluster.KeyView(tx.State(), &doc, now)
		return api.KeyCreated{KeyView: view, Key: made.Secret}, store.APIKeys.Put(tx, doc.ID, doc)
	})
	if err != nil || dryRun(ctx) || out.ID != doc.ID {
		out.Key = ""
	}
	return out, err
}

// ownerOf reads a user who is to own a key, for the transaction to hang on it.
func ownerOf(tx *store.Tx, name string) (api.User, error) {
	owner, ok, err := store.Users.Get(tx, name)
	switch {
	case err != nil:
		return owner, err
	case !ok:
		return owner, invalid("owner", fmt.Sprintf("%.80q is no user here; list them with: nebula user list", name))
	case owner.Disabled:
		return owner, api.Errorf(api.CodeConflict, "the user %s is disabled, and so would the key be", name)
	}
	return owner, nil
}

// expiry works out when a key ends. One made with another key ends no later than that, else a key could outlive itself; a personal key acts for its
// owner, who could log in again, and may.
func expiry(tx *store.Tx, h KeyHolder, now time.Time, days int) (int64, error) {
	given := days != 0
	if !given {
		days = api.KeyLifeDays
	}
	at := now.AddDate(0, 0, days).UnixMilli()
	parent, ok := tx.State().APIKeys.Value(h.KeyID)
	if !ok || parent.Kind == api.KeyPersonal || parent.ExpiresAtMS == 0 || at <= parent.ExpiresAtMS {
		return at, nil
	}
	if given {
		return 0, api.Errorf(api.CodeForbidden, "the key would outlive the one that you show, which ends %s: ask for less, or log in",
			time.UnixMilli(parent.ExpiresAtMS).UTC().Format(time.DateTime))
	}
	return parent.ExpiresAtMS, nil
}

// editKey changes a key that the holder may manage, and which may do no more than the holder before or after.
func (c *Control) editKey(tx *store.Tx, h KeyHolder, id string, ifMatch int64, change func(*api.APIKey, *api.User) error) (api.KeyView, error) {
	e, ok, err := store.APIKeys.Entry(tx, id)
	switch {
	case ok && !h.owns(e.Value.Owner), err == nil && !ok, err != nil && h.Role != api.RoleAdmin:
		return api.KeyView{}, noKey(id)
	case err != nil:
		return api.KeyView{}, err
	case ifMatch != 0 && e.Rev != ifMatch:
		return api.KeyView{}, api.Errorf(api.CodeRevisionMismatch, "the key has been changed since: read it again, and decide anew")
	}
	key, now := e.Value, c.now()
	owner, _, err := store.Users.Get(tx, key.Owner)
	if err != nil {
		return api.KeyView{}, err
	}
	if err := h.holds(&key, &owner); err != nil {
		return api.KeyView{}, err
	}
	if err := change(&key, &owner); err != nil {
		return api.KeyView{}, err
	}
	if err := h.holds(&key, &owner); err != nil {
		return api.KeyView{}, err
	}
	key.UpdatedAtMS = now.UnixMilli()
	return cluster.KeyView(tx.State(), &key, now), store.APIKeys.Put(tx, id, key)
}

// UpdateKey changes what a key is called, what it may do and until when. Gateways follow within two seconds.
func (c *Control) UpdateKey(ctx context.Context, h KeyHolder, id string, req api.UpdateKey, ifMatch int64) (api.KeyView, error) {
	if err := req.Validate(); err != nil {
		return api.KeyView{}, err
	}
	var out api.KeyView
	err := c.update(ctx, "key.update", "key/"+id, func(tx *store.Tx) (err error) {
		out, err = c.editKey(tx, h, id, ifMatch, func(key *api.APIKey, owner *api.User) (err error) {
			if req.Name != nil {
				key.Name = *req.Name
			}
			if req.Role != nil && *req.Role != "" {
				if key.Role = *req.Role; !key.Role.AtMost(owner.Role) {
					return invalid("role", fmt.Sprintf("is more than %s has, who is %s: a key can do no more than its owner", key.Owner, owner.Role))
				}
			}
			if req.Scopes != nil {
				key.Scopes = *req.Scopes
			}
			if req.Disabled != nil {
				key.Disabled = *req.Disabled
			}
			if req.ExpiresInDays != nil {
				key.ExpiresAtMS, err = expiry(tx, h, c.now(), *req.ExpiresInDays)
			}
			return err
		})
		return err
	})
	return out, err
}

// RotateKey gives a key another secret, which only this answer has. The former one is good for some hours yet, or at an end.
func (c *Control) RotateKey(ctx context.Context, h KeyHolder, id string, req api.RotateKey, ifMatch int64, made KeySecret) (api.KeyCreated, error) {
	if err := req.Validate(); err != nil {
		return api.KeyCreated{}, err
	}
	given := false // whether this very request set the secret
	out, err := create(ctx, c, "key.rotate", "key/"+id, func(tx *store.Tx) (api.KeyCreated, error) {
		view, err := c.editKey(tx, h, id, ifMatch, func(key *api.APIKey, _ *api.User) error {
			key.FormerHash, key.FormerUntilMS = "", 0
			if req.OverlapHours > 0 {
				key.FormerHash, key.FormerUntilMS = key.SecretHash, c.now().Add(time.Duration(req.OverlapHours)*time.Hour).UnixMilli()
			}
			key.SecretHash, key.Prefix = made.Hash, made.Prefix
			return nil
		})
		given = err == nil
		return api.KeyCreated{KeyView: view, Key: made.Secret}, err
	})
	if err != nil || !given || dryRun(ctx) || CallerOf(ctx).Replayed {
		out.Key = ""
	}
	return out, err
}

// DeleteKey ends a key for good.
func (c *Control) DeleteKey(ctx context.Context, h KeyHolder, id string, ifMatch int64) error {
	return c.update(ctx, "key.delete", "key/"+id, func(tx *store.Tx) error {
		e, ok, err := store.APIKeys.Entry(tx, id)
		switch {
		case ok && !h.owns(e.Value.Owner), err == nil && !ok, err != nil && h.Role != api.RoleAdmin:
			return noKey(id)
		case ok && ifMatch != 0 && e.Rev != ifMatch:
			return api.Errorf(api.CodeRevisionMismatch, "the key has been changed since: read it again, and decide anew")
		}
		return store.APIKeys.Delete(tx, id) // also one that cannot be read
	})
}
