package api

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what people say of themselves, in bytes.
const (
	MaxDisplayName = 128
	MaxEmail       = 254 // as mail itself has it
	MaxTokenName   = 64
)

// Bounds of a password, in characters. One factor alone needs 15, by NIST SP 800-63B-4; which characters is nobody's business.
const (
	MinPassword = 15
	MaxPassword = 256
)

// Bounds of a personal token's life, in days.
const (
	TokenDays    = 90
	MaxTokenDays = 365
)

// UserRoles are the roles that people may have.
func UserRoles() []Role { return []Role{RoleViewer, RoleOperator, RoleAdmin} }

// CreateUser is the body of POST /api/v2/users. Without a password the user can log in only through an OpenID provider.
type CreateUser struct {
	Name        string `json:"name"`
	Role        Role   `json:"role"`
	DisplayName string `json:"display_name,omitempty"`
	Email       string `json:"email,omitempty"`
	Password    Token  `json:"password,omitempty"`
}

// Validate checks everything but the password, which [CheckPassword] does.
func (u *CreateUser) Validate() error {
	if err := checkUserName(u.Name); err != nil {
		return err
	}
	return checkAbout(&u.Role, &u.DisplayName, &u.Email)
}

// UpdateUser is the body of PUT /api/v2/users/{name}: what is absent stays.
type UpdateUser struct {
	Role        *Role   `json:"role,omitempty"`
	DisplayName *string `json:"display_name,omitempty"`
	Email       *string `json:"email,omitempty"`
	Disabled    *bool   `json:"disabled,omitempty"`
}

// Validate checks what is there.
func (u *UpdateUser) Validate() error { return checkAbout(u.Role, u.DisplayName, u.Email) }

// UpdateProfile is the body of PUT /api/v2/profile: what people say of themselves. What is absent stays.
type UpdateProfile struct {
	DisplayName *string `json:"display_name,omitempty"`
	Email       *string `json:"email,omitempty"`
}

// Validate checks what is there.
func (u *UpdateProfile) Validate() error { return checkAbout(nil, u.DisplayName, u.Email) }

// SetPassword is the body of PUT /api/v2/users/{name}/password.
type SetPassword struct {
	Password Token `json:"password"`
}

// ChangePassword is the body of PUT /api/v2/password.
type ChangePassword struct {
	Current Token `json:"current_password"`
	New     Token `json:"new_password"`
}

// Login is the body of POST /api/v2/auth/login.
type Login struct {
	Username string `json:"username"`
	Password Token  `json:"password"`
}

// CreatePersonalToken is the body of POST /api/v2/auth/token. Without username and password a session must say who asks.
type CreatePersonalToken struct {
	Username string `json:"username,omitempty"`
	Password Token  `json:"password,omitempty"`
	Name     string `json:"name,omitempty"` // what the token is for, such as the machine's name
	Days     int    `json:"days,omitempty"` // until it expires; 0 = 90
}

// Validate checks the name and the life.
func (t *CreatePersonalToken) Validate() error {
	if err := checkText("name", t.Name, MaxTokenName); err != nil {
		return err
	}
	if t.Days < 0 || t.Days > MaxTokenDays {
		return fieldError("days", fmt.Sprintf("must be between 1 and %d", MaxTokenDays))
	}
	return nil
}

// PersonalToken is a token that was just made. Only this answer has it.
type PersonalToken struct {
	Token       Token  `json:"token"`
	ID          string `json:"id"`
	User        string `json:"user"`
	Role        Role   `json:"role"`
	ExpiresAtMS int64  `json:"expires_at_ms"`
}

// SetupStatus tells whether the first user is still to be made, and how people may log in.
type SetupStatus struct {
	Needed bool `json:"needed"`
	// LoginProvider: people may log in at an OpenID provider, too, beginning at /api/v2/auth/oidc/login.
	LoginProvider bool `json:"login_provider"`
	// ProviderName is what people may know that provider by: the host of its address.
	ProviderName string `json:"provider_name,omitempty"`
}

// Setup is the body of POST /api/v2/setup: it makes the first user, an administrator.
type Setup struct {
	Token       Token  `json:"token"` // of the link that the server prints
	Username    string `json:"username"`
	Password    Token  `json:"password"`
	DisplayName string `json:"display_name,omitempty"`
	Email       string `json:"email,omitempty"`
}

// User is the user to make.
func (s *Setup) User() CreateUser {
	return CreateUser{Name: s.Username, Role: RoleAdmin, DisplayName: s.DisplayName, Email: s.Email, Password: s.Password}
}

// Whoami tells who a credential belongs to.
type Whoami struct {
	ID     string  `json:"id"`
	Kind   string  `json:"kind"` // user, or static: a token of the server's own configuration
	Role   Role    `json:"role"`
	KeyID  string  `json:"key_id,omitempty"` // of the key that was shown
	Scopes *Scopes `json:"scopes,omitempty"` // of that key
	User   *User   `json:"user,omitempty"`
	// Session is that of the cookie that was shown.
	Session *SessionView `json:"session,omitempty"`
}

// SessionView is a login as people see it. Its id is of no use as a credential.
type SessionView struct {
	ID          string `json:"id"`
	User        string `json:"user"`
	CreatedAtMS int64  `json:"created_at_ms"`
	ExpiresAtMS int64  `json:"expires_at_ms"`
	Source      string `json:"source,omitempty"`
	UserAgent   string `json:"user_agent,omitempty"`
	External    bool   `json:"external,omitempty"`
	Current     bool   `json:"current,omitempty"` // the one that asks
}

// View returns what may be shown of a session.
func (s *Session) View() SessionView {
	return SessionView{
		ID: s.ID[:min(len(s.ID), 16)], User: s.User, CreatedAtMS: s.CreatedAtMS, ExpiresAtMS: s.ExpiresAtMS, Source: s.Source, UserAgent: s.UserAgent, External: s.External,
	}
}

// Answers of deletions.
type (
	// UserDeleted answers a DELETE of a user.
	UserDeleted struct {
		Name   string `json:"name"`
		Status string `json:"status"`
	}
	// SessionDeleted answers a DELETE of a session.
	SessionDeleted struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	}
)

// Done answers what has no more to say.
type Done struct {
	Status string `json:"status"`
}

func checkUserName(name string) error {
	if !ValidUserName(name) {
		return fieldError("name", fmt.Sprintf(`must be 1 to %d lower-case letters, digits, ".", "_", "@" and "-", a letter or digit first`, MaxUserName))
	}
	return nil
}

func checkAbout(role *Role, displayName, email *string) error {
	if role != nil && *role != RoleViewer && *role != RoleOperator && *role != RoleAdmin {
		return fieldError("role", "must be viewer, operator or admin")
	}
	if displayName != nil {
		if err := checkText("display_name", *displayName, MaxDisplayName); err != nil {
			return err
		}
	}
	if email == nil || *email == "" {
		return nil
	}
	local, domain, ok := strings.Cut(*email, "@")
	if !ok || local == "" || domain == "" || strings.ContainsAny(domain, "@") || strings.ContainsFunc(*email, func(r rune) bool {
		return r <= ' ' || r == '<' || r == '>' || unicode.IsControl(r) || unicode.IsSpace(r)
	}) {
		return fieldError("email", "must look like somebody@example.com")
	}
	return checkText("email", *email, MaxEmail)
}

// checkText refuses text that is too long or holds what nobody can see.
func checkText(field, s string, most int) error {
	if len(s) > most {
		return fieldError(field, fmt.Sprintf("has %d bytes, and at most %d are taken", len(s), most))
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fieldError(field, "must be text without control characters")
	}
	return nil
}

func fieldError(field, reason string) error {
	return &Error{Code: CodeInvalidRequest, Message: field + " " + reason, Details: []Field{{Field: field, Reason: reason}}}
}
