package cluster

import (
	"time"

	"github.com/nebula-serve/nebula/api"
)

// KeyView is a key as people see it, at the time now.
func KeyView(s *State, key *api.APIKey, now time.Time) api.KeyView {
	owner, owned := s.Users.Value(key.Owner)
	use, _ := s.KeyUses.Value(key.ID)
	v := api.KeyView{
		ID: key.ID, Kind: key.Kind, Name: key.Name, Owner: key.Owner, Role: key.Role, Scopes: key.Scopes, Prefix: key.Prefix, State: api.KeyActive,
		CreatedAtMS: key.CreatedAtMS, UpdatedAtMS: key.UpdatedAtMS, ExpiresAtMS: key.ExpiresAtMS,
		LastUsedMS: use.LastUsedMS, LastUsedFrom: use.Source,
	}
	if v.Role == "" { // a personal key has its owner's
		v.Role = api.RoleInference
		if owned {
			v.Role = owner.Role
		}
	}
	ms := now.UnixMilli()
	if ms < key.FormerUntilMS {
		v.FormerUntilMS = key.FormerUntilMS
	}
	switch {
	case key.Disabled:
		v.State = api.KeyDisabled
	case key.ExpiresAtMS != 0 && ms >= key.ExpiresAtMS:
		v.State = api.KeyExpired
	case !owned || owner.Disabled:
		v.State = api.KeyOwnerDisabled
	}
	v.OwnerRoleLimits = owned && key.Role != "" && !key.Role.AtMost(owner.Role)
	return v
}

// KeyViews lists keys, in order of their ids: of one owner, or of all when owner is empty.
func KeyViews(s *State, owner string, now time.Time) []api.KeyView {
	out := []api.KeyView{}
	for _, e := range s.APIKeys.Refs() {
		if owner == "" || e.Value.Owner == owner {
			out = append(out, KeyView(s, &e.Value, now))
		}
	}
	return out
}
