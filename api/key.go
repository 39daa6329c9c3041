package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// Limits of keys.
const (
	MaxKeyName  = 100 // bytes
	MaxScopes   = 100 // models, or routes, of one key
	MaxScope    = 256 // bytes of one scope
	KeyLifeDays = 90  // of a key when nobody says
	MaxKeyDays  = 365
	// MaxOverlapHours is how long the former secret of a rotated key may stay good.
	MaxOverlapHours = 24
)

// CreateKey is the body of POST /api/v2/keys. Fields that it does not have are refused: a misspelt scope would else make a key that may do everything.
type CreateKey struct {
	Name  string `json:"name"`
	Role  Role   `json:"role,omitempty"`  // "" = inference
	Owner string `json:"owner,omitempty"` // "" = who asks; another is for admins
	// Scopes narrow the key.
	Scopes        Scopes `json:"scopes"`
	ExpiresInDays int    `json:"expires_in_days,omitempty"` // 1 to 365; 0 = 90
}

// UnmarshalJSON refuses unknown fields.
func (k *CreateKey) UnmarshalJSON(b []byte) error {
	type plain CreateKey
	return strict(b, (*plain)(k))
}

// UpdateKey is the body of PUT /api/v2/keys/{id}. What is not given stays as it is.
type UpdateKey struct {
	Name          *string `json:"name,omitempty"`
	Role          *Role   `json:"role,omitempty"`
	Scopes        *Scopes `json:"scopes,omitempty"` // all of them
	Disabled      *bool   `json:"disabled,omitempty"`
	ExpiresInDays *int    `json:"expires_in_days,omitempty"` // from now
}

// UnmarshalJSON refuses unknown fields.
func (k *UpdateKey) UnmarshalJSON(b []byte) error {
	type plain UpdateKey
	return strict(b, (*plain)(k))
}

// RotateKey is the body of POST /api/v2/keys/{id}/rotate.
type RotateKey struct {
	// OverlapHours is how long the present secret stays good beside the new one, 0 to 24.
	OverlapHours int `json:"overlap_hours,omitempty"`
}

// KeyState is whether a key lets anybody in, and if not, why.
type KeyState string

// The states of a key.
const (
	KeyActive        KeyState = "active"
	KeyDisabled      KeyState = "disabled"
	KeyExpired       KeyState = "expired"
	KeyOwnerDisabled KeyState = "owner-disabled" // its owner is kept out, or is no user any more
)

// KeyView is a key as people see it: without its secret, which nobody sees twice.
type KeyView struct {
	ID              string   `json:"id"`
	Kind            KeyKind  `json:"kind"`
	Name            string   `json:"name"`
	Owner           string   `json:"owner"`
	Role            Role     `json:"role"`
	Scopes          Scopes   `json:"scopes"`
	Prefix          string   `json:"prefix"`
	State           KeyState `json:"state"`
	CreatedAtMS     int64    `json:"created_at_ms"`
	UpdatedAtMS     int64    `json:"updated_at_ms"`
	ExpiresAtMS     int64    `json:"expires_at_ms,omitempty"`
	FormerUntilMS   int64    `json:"former_until_ms,omitempty"` // the secret before the last rotation is good until then
	LastUsedMS      int64    `json:"last_used_ms,omitempty"`    // to the minute; absent = never
	LastUsedFrom    string   `json:"last_used_from,omitempty"`
	OwnerRoleLimits bool     `json:"owner_role_limits,omitempty"` // the owner may do less than the key's role says, and so may the key
}

// KeyCreated is the answer to a new key and to a rotation: the only one that has the key itself.
type KeyCreated struct {
	KeyView
	// Key is the whole key. It is not in the answer to a dry run, nor to a request that was carried out before.
	Key KeySecret `json:"key,omitempty"`
}

// WithoutSecret is what is kept of the answer.
func (k KeyCreated) WithoutSecret() any {
	k.Key = ""
	return k
}

// KeySecret is a key on its way to the person who asked for it. It prints as stars; JSON, the wire, has it.
type KeySecret = Token

// KeyDeleted is the answer to DELETE /api/v2/keys/{id}.
type KeyDeleted struct {
	ID     string `json:"id"`
	Status string `json:"status"`
}

// KeyUses is what a gateway reports: when keys were used last.
type KeyUses struct {
	Uses List[KeyUse] `json:"uses"`
}

// KeyUsesStored is the answer to a report.
type KeyUsesStored struct {
	Taken int `json:"taken"`
}

// MaxKeyUses bounds one report.
const MaxKeyUses = 1000

// Validate tells what is wrong with a report.
func (u *KeyUses) Validate() error {
	var bad problems
	if len(u.Uses) > MaxKeyUses {
		bad.add("uses", "has %d entries; at most %d", len(u.Uses), MaxKeyUses)
		return bad.err("the report is not valid")
	}
	for _, use := range u.Uses {
		if !KnownUID(use.ID) || use.LastUsedMS <= 0 {
			bad.add("uses", "has one of the key %q at %d, which cannot be", clip(use.ID), use.LastUsedMS)
			break
		}
	}
	return bad.err("the report is not valid")
}

// UnmarshalJSON refuses kinds of scopes that this version does not know: what cannot be enforced must not be taken for no limit. A stored key with
// such a scope cannot be read, and lets nobody in.
func (s *Scopes) UnmarshalJSON(b []byte) error {
	type plain Scopes
	return strict(b, (*plain)(s))
}

func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err != nil && strings.Contains(err.Error(), "unknown field") {
		return errors.New(strings.TrimPrefix(err.Error(), "json: ") + ": it is refused, because it might have been meant as a limit")
	}
	return err
}

// Validate tells what is wrong with a key that is asked for.
func (k *CreateKey) Validate() error {
	var bad problems
	checkKey(&bad, k.Name, k.Role, k.Scopes)
	if k.ExpiresInDays < 0 || k.ExpiresInDays > MaxKeyDays {
		bad.add("expires_in_days", "must be between 1 and %d, or 0 for %d", MaxKeyDays, KeyLifeDays)
	}
	if k.Owner != "" && !ValidUserName(k.Owner) {
		bad.add("owner", "%q is not the name of a user", clip(k.Owner))
	}
	return bad.err("the key is not valid")
}

// Validate tells what is wrong with a change.
func (k *UpdateKey) Validate() error {
	var bad problems
	name, role, scopes := "a", RoleInference, Scopes{}
	if k.Name != nil {
		name = *k.Name
	}
	if k.Role != nil {
		role = *k.Role
	}
	if k.Scopes != nil {
		scopes = *k.Scopes
	}
	checkKey(&bad, name, role, scopes)
	if d := k.ExpiresInDays; d != nil && (*d < 1 || *d > MaxKeyDays) {
		bad.add("expires_in_days", "must be between 1 and %d", MaxKeyDays)
	}
	return bad.err("the change of the key is not valid")
}

// Validate tells what is wrong with a rotation.
func (k *RotateKey) Validate() error {
	var bad problems
	if k.OverlapHours < 0 || k.OverlapHours > MaxOverlapHours {
		bad.add("overlap_hours", "must be between 0 and %d", MaxOverlapHours)
	}
	return bad.err("the rotation is not valid")
}

func checkKey(bad *problems, name string, role Role, scopes Scopes) {
	switch {
	case strings.TrimSpace(name) == "":
		bad.add("name", "say what the key is for, in a few words")
	case len(name) > MaxKeyName:
		bad.add("name", "is %d bytes long; at most %d", len(name), MaxKeyName)
	case strings.ContainsFunc(name, func(r rune) bool {
		return r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' || r >= 0x80 && r < 0xa0
	}):
		bad.add("name", "must not contain line breaks or control characters")
	}
	switch role {
	case "", RoleInference, RoleViewer, RoleOperator, RoleAdmin:
	default:
		bad.add("role", "%q is no role; use inference, viewer, operator or admin", clip(string(role)))
	}
	scopes.check(bad)
}

func (s Scopes) check(bad *problems) {
	for _, kind := range []struct {
		field string
		list  []string
		ok    func(string) bool
		want  string
	}{
		{"scopes.models", s.Models, validModelScope, `a model's uid, such as "qwen3-8b", or the start of uids with "*" at the end`},
		{"scopes.routes", s.Routes, validRouteScope, `a path, such as "/v1/chat/completions", or the start of paths with "*" at the end, such as "/v1/*"`},
	} {
		if len(kind.list) > MaxScopes {
			bad.add(kind.field, "has %d entries; at most %d", len(kind.list), MaxScopes)
			continue
		}
		for _, v := range kind.list {
			if !kind.ok(v) {
				bad.add(kind.field, "%q is not understood: give %s", clip(v), kind.want)
				break
			}
		}
	}
}

func validModelScope(v string) bool {
	head, _ := strings.CutSuffix(v, "*")
	return v == "*" || KnownUID(head)
}

func validRouteScope(v string) bool {
	head, _ := strings.CutSuffix(v, "*")
	if v == "*" {
		return true
	}
	return len(v) <= MaxScope && strings.HasPrefix(head, "/") && !strings.Contains(head, "//") && !strings.Contains(head, "/.") &&
		!strings.ContainsFunc(head, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`*?#%\"<>{}`, r) })
}

// Model tells whether the scopes let a model of that uid pass.
func (s Scopes) Model(uid string) bool { return len(s.Models) == 0 || matches(s.Models, uid) }

// Route tells whether the scopes let a request for that path pass.
func (s Scopes) Route(path string) bool { return len(s.Routes) == 0 || matches(s.Routes, path) }

// Covers tells whether s lets everything pass that o does.
func (s Scopes) Covers(o Scopes) bool {
	return covers(s.Models, o.Models) && covers(s.Routes, o.Routes)
}

// covers tells whether every pattern of the narrow list is within one of the wide list. An empty list is everything.
func covers(wide, narrow []string) bool {
	if len(wide) == 0 {
		return true
	}
	if len(narrow) == 0 {
		narrow = []string{"*"}
	}
	for _, n := range narrow {
		if !matches(wide, n) { // "a*" as a text is matched by "a*" and by what is shorter and ends in "*", and by nothing else
			return false
		}
	}
	return true
}

func matches(patterns []string, v string) bool {
	for _, p := range patterns {
		if head, open := strings.CutSuffix(p, "*"); p == v || open && strings.HasPrefix(v, head) {
			return true
		}
	}
	return false
}

// AtMost tells whether a role allows nothing that o does not. A role that this version does not know is at most every other, and allows nothing.
func (r Role) AtMost(o Role) bool { return r.rank() <= o.rank() }

func (r Role) rank() int {
	switch r {
	case RoleInference:
		return 1
	case RoleViewer:
		return 2
	case RoleOperator:
		return 3
	case RoleAdmin:
		return 4
	}
	return 0
}
