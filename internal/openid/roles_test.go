package openid

import (
	"log/slog"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
)

func TestRoles_of(t *testing.T) {
	roles, err := ParseRoles([]string{"admin=platform", "viewer=staff", "viewer=guests", "operator=on-call"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		claim     any
		otherwise api.Role
		want      api.Role
	}{
		"the highest":         {[]any{"staff", "platform", "on-call"}, "", api.RoleAdmin},
		"one text":            {"on-call", "", api.RoleOperator},
		"none":                {[]any{"others"}, "", ""},
		"no claim":            {nil, "", ""},
		"in other case":       {"Platform", "", ""},
		"a part":              {"platform,staff", "", ""},
		"no text":             {[]any{1, true, nil, map[string]any{"a": "platform"}}, "", ""},
		"an empty text":       {"", "", ""},
		"none, with default":  {[]any{"others"}, api.RoleViewer, api.RoleViewer},
		"lower than default?": {[]any{"staff"}, api.RoleOperator, api.RoleViewer},
	} {
		if got := roles.Of(c.claim, c.otherwise); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	for _, bad := range []string{"admin", "admin=", "root=x", "inference=x", "=x", "Admin=x"} {
		if r, err := ParseRoles([]string{bad}); err == nil {
			t.Errorf("%q is taken: %v", bad, r)
		}
	}
	if _, err := ParseRoles([]string{"admin=x", "viewer=x"}); err == nil {
		t.Error("one value has two roles")
	}
}

func TestClaim_at(t *testing.T) {
	claims := map[string]any{"groups": "a", "realm_access": map[string]any{"roles": "b"}, "https://x.y/roles": "c", "no": 1}
	for name, want := range map[string]any{"groups": "a", "realm_access.roles": "b", "https://x.y/roles": "c", "realm_access.x": nil, "no.more": nil, "": nil} {
		if got := at(claims, name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// TestPerson_names: what the provider says becomes a legal user name, or nobody; an address that is not verified is not taken.
func TestPerson_names(t *testing.T) {
	p := Provider{Config: Config{Otherwise: api.RoleViewer, Now: time.Now, Log: slog.New(slog.DiscardHandler)}}
	for name, c := range map[string]struct {
		subject     string
		claims      map[string]any
		user, email string
		fails       bool
	}{
		"user name":      {"1", map[string]any{"preferred_username": "Ann"}, "ann", "", false},
		"verified mail":  {"X Y", map[string]any{"preferred_username": "ann b", "email": "ann@example.com", "email_verified": true}, "ann@example.com", "ann@example.com", false},
		"unproven mail":  {"sub1", map[string]any{"email": "ann@example.com"}, "sub1", "", false},
		"mail says text": {"sub1", map[string]any{"email": "ann@example.com", "email_verified": "true"}, "sub1", "", false},
		"no usable name": {"A|b", map[string]any{"preferred_username": "../x"}, "", "", true},
		"a wild address": {"s", map[string]any{"preferred_username": "ann", "email": "a\n@b", "email_verified": true, "name": "a\x1b[31m"}, "ann", "", false},
		"no subject":     {"", map[string]any{"preferred_username": "ann"}, "", "", true},
	} {
		who, err := p.person("https://i", c.subject, c.claims)
		if (err != nil) != c.fails || who.Name != c.user || who.Email != c.email || who.DisplayName != "" {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
}

func TestNew_refuses(t *testing.T) {
	good := Config{Issuer: "https://login.example.com", ClientID: "nebula", Otherwise: api.RoleViewer}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no issuer":     func(c *Config) { c.Issuer = "" },
		"in clear":      func(c *Config) { c.Issuer = "http://login.example.com" },
		"with a query":  func(c *Config) { c.Issuer += "?a=b" },
		"with password": func(c *Config) { c.Issuer = "https://a:b@login.example.com" },
		"no client":     func(c *Config) { c.ClientID = "" },
		"no role":       func(c *Config) { c.Otherwise = "" },
		"unknown role":  func(c *Config) { c.Otherwise = "root" },
		"public path":   func(c *Config) { c.PublicURL = "https://x/y" },
		"public host":   func(c *Config) { c.PublicURL = "x" },
	} {
		c := good
		change(&c)
		if _, err := New(c); !api.HasCode(err, api.CodeInvalidRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
