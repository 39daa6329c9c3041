package api

// Role is what a person or a key may do. Each role includes those before it.
type Role string

// The roles.
const (
	RoleInference Role = "inference" // ask models, nothing else; of keys alone
	RoleViewer    Role = "viewer"    // look at everything but secrets and logs
	RoleOperator  Role = "operator"  // run models
	RoleAdmin     Role = "admin"     // everything
)

// User is a person who may use the API. The password is in a document of its own, which gateways never get.
type User struct {
	Name        string `json:"name"`
	Role        Role   `json:"role"`
	DisplayName string `json:"display_name,omitempty"`
	Email       string `json:"email,omitempty"`
	Disabled    bool   `json:"disabled,omitempty"`
	// External names the OpenID provider (its issuer) and the subject there, for a user who has no password here.
	External    *ExternalID `json:"external,omitempty"`
	CreatedAtMS int64       `json:"created_at_ms"`
	UpdatedAtMS int64       `json:"updated_at_ms"`
	CreatedBy   string      `json:"created_by,omitempty"`
	// What clients of version 1 let people choose. It is kept for them: nothing in Nebula acts on it.
	InAppAlertsOff bool `json:"in_app_alerts_off,omitempty"`
	EmailAlerts    bool `json:"email_alerts,omitempty"`
}

// ExternalID is who a user is at an OpenID provider.
type ExternalID struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

// Password is a user's password as it is stored: argon2id in PHC string format.
type Password struct {
	Name        string `json:"name"`
	Hash        string `json:"hash"`
	ChangedAtMS int64  `json:"changed_at_ms"`
}

// Session is a login of a browser, or of a client of version 1. Its id is the SHA-256 of the cookie's or token's value, in hex; a browser's ends with its
// lease when it is idle.
type Session struct {
	ID          string `json:"id"`
	User        string `json:"user"`
	CreatedAtMS int64  `json:"created_at_ms"`
	ExpiresAtMS int64  `json:"expires_at_ms"` // however busy it is
	Source      string `json:"source,omitempty"`
	UserAgent   string `json:"user_agent,omitempty"`
	External    bool   `json:"external,omitempty"` // by an OpenID provider
	Bearer      bool   `json:"bearer,omitempty"`   // of a client of version 1: shown as a bearer token, and never as a cookie
}

// KeyKind tells what a key is for.
type KeyKind string

// The kinds of keys.
const (
	KeyPlain    KeyKind = "key"      // for programs
	KeyPersonal KeyKind = "personal" // of a person's CLI: it may what its owner may
)

// APIKey is a credential as it is stored: a hash, never the secret. It can never do more than its owner.
//
//nolint:revive // "API key" is its name everywhere; a key alone is many things here
type APIKey struct {
	ID          string  `json:"id"`
	Kind        KeyKind `json:"kind"`
	Name        string  `json:"name,omitempty"`
	Owner       string  `json:"owner"` // a user's name
	Role        Role    `json:"role"`
	Scopes      Scopes  `json:"scopes"`
	SecretHash  string  `json:"secret_hash"` // SHA-256 of the whole key, in hex
	Prefix      string  `json:"prefix"`      // what may be shown of it
	Disabled    bool    `json:"disabled,omitempty"`
	CreatedAtMS int64   `json:"created_at_ms"`
	UpdatedAtMS int64   `json:"updated_at_ms"`
	ExpiresAtMS int64   `json:"expires_at_ms,omitempty"` // 0 = never
	// FormerHash is that of the secret before the last rotation, which is good until FormerUntilMS.
	FormerHash    string `json:"former_hash,omitempty"`
	FormerUntilMS int64  `json:"former_until_ms,omitempty"`
}

// Scopes narrow a key. What a scope does not name is denied; an empty list of models or routes means all that the role allows.
type Scopes struct {
	Models List[string] `json:"models"` // uids; a trailing "*" stands for any end
	Routes List[string] `json:"routes"` // paths, such as /v1/chat/completions or /api/v2/models*; a trailing "*" likewise
}

// KeyUse tells when a key was last used, to the minute.
type KeyUse struct {
	ID         string `json:"id"`
	LastUsedMS int64  `json:"last_used_ms"`
	Source     string `json:"source,omitempty"`
}

// MaxUserName bounds the names of users, in bytes.
const MaxUserName = 64

// ValidUserName applies the rule for names of users: lower-case letters, digits, ".", "_", "@" and "-", starting with a letter or digit, so that
// no two look alike.
func ValidUserName(name string) bool {
	if name == "" || len(name) > MaxUserName || !lowerAlnum(name[0]) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !lowerAlnum(c) && c != '.' && c != '_' && c != '@' && c != '-' {
			return false
		}
	}
	return true
}
