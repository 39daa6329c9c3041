package openid

import (
	"fmt"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// Roles tells which role a value of the provider's claim stands for.
type Roles map[string]api.Role

// ParseRoles reads ROLE=VALUE entries, as "admin=platform-team". A role may stand for several values, a value for one role alone.
func ParseRoles(entries []string) (Roles, error) {
	roles := Roles{}
	for _, e := range entries {
		name, value, ok := strings.Cut(strings.TrimSpace(e), "=")
		role := api.Role(name)
		switch {
		case !ok || value == "":
			return nil, fmt.Errorf("%q is not understood: give ROLE=VALUE, for example admin=platform-team", e)
		case !ForPeople(role):
			return nil, fmt.Errorf("%q is no role of a user: use viewer, operator or admin", name)
		case roles[value] != "" && roles[value] != role:
			return nil, fmt.Errorf("%q is given two roles, %s and %s: choose one", value, roles[value], role)
		}
		roles[value] = role
	}
	return roles, nil
}

// ForPeople tells whether a user may have the role.
func ForPeople(r api.Role) bool {
	return r == api.RoleViewer || r == api.RoleOperator || r == api.RoleAdmin
}

// Of returns the highest role that the values of a claim stand for, or otherwise; "" = none: the person may not come in.
func (r Roles) Of(claim any, otherwise api.Role) api.Role {
	best := api.Role("")
	for _, value := range texts(claim) {
		if role := r[value]; best.AtMost(role) {
			best = role
		}
	}
	if best == "" {
		return otherwise
	}
	return best
}

// texts returns the texts of a claim, which is one or a list of them; anything else is none.
func texts(claim any) []string {
	switch v := claim.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

// at returns the claim of that name; dots lead into objects, as in realm_access.roles, unless there is a claim of the whole name.
func at(claims map[string]any, name string) any {
	if v, ok := claims[name]; ok {
		return v
	}
	head, rest, ok := strings.Cut(name, ".")
	if !ok {
		return nil
	}
	inner, _ := claims[head].(map[string]any)
	return at(inner, rest)
}
