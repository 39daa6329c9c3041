package api

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestScopes_match(t *testing.T) {
	for _, c := range []struct {
		patterns []string
		value    string
		want     bool
	}{
		{nil, "anything", true},
		{[]string{"m"}, "m", true},
		{[]string{"m"}, "M", false},
		{[]string{"m"}, "m2", false},
		{[]string{"m"}, "", false},
		{[]string{"m*"}, "m", true},
		{[]string{"m*"}, "m2", true},
		{[]string{"m*"}, "am", false},
		{[]string{"*"}, "x", true},
		{[]string{"a", "b*"}, "bc", true},
	} {
		if got := (Scopes{Models: c.patterns}).Model(c.value); got != c.want {
			t.Errorf("%v allows model %q: %v", c.patterns, c.value, got)
		}
		if got := (Scopes{Routes: c.patterns}).Route(c.value); got != c.want {
			t.Errorf("%v allows route %q: %v", c.patterns, c.value, got)
		}
	}
}

// TestScopes_covers: whatever a covered scope lets pass, the covering one does, too.
func TestScopes_covers(t *testing.T) {
	lists := [][]string{nil, {"*"}, {"a"}, {"a*"}, {"ab"}, {"ab*"}, {"a", "b"}, {"b*", "ab*"}, {"abc"}}
	values := []string{"", "a", "b", "ab", "abc", "abcd", "ba", "c"}
	for _, wide := range lists {
		for _, narrow := range lists {
			covered := Scopes{Models: wide}.Covers(Scopes{Models: narrow})
			for _, v := range values {
				if covered && (Scopes{Models: narrow}).Model(v) && !(Scopes{Models: wide}).Model(v) {
					t.Errorf("%v covers %v, and %q is in the latter alone", wide, narrow, v)
				}
			}
			if (Scopes{Routes: wide}).Covers(Scopes{Routes: narrow}) != covered {
				t.Errorf("%v over %v differs for routes", wide, narrow)
			}
		}
	}
	for _, c := range []struct {
		wide, narrow []string
		want         bool
	}{{[]string{"a*"}, []string{"ab*", "a"}, true}, {[]string{"ab*"}, []string{"a*"}, false}, {[]string{"a"}, nil, false}, {nil, []string{"a"}, true}, {[]string{"a"}, []string{"*"}, false}} {
		if got := (Scopes{Models: c.wide}).Covers(Scopes{Models: c.narrow}); got != c.want {
			t.Errorf("%v covers %v: %v", c.wide, c.narrow, got)
		}
	}
}

func TestCreateKey_refuses(t *testing.T) {
	for name, body := range map[string]string{
		"no name":            `{}`,
		"line break":         `{"name":"a\nb"}`,
		"escape":             `{"name":"a\u001b[31m"}`,
		"long name":          `{"name":"` + strings.Repeat("a", 101) + `"}`,
		"unknown role":       `{"name":"a","role":"root"}`,
		"role in upper case": `{"name":"a","role":"Admin"}`,
		"misspelt scope":     `{"name":"a","scopes":{"modles":["m"]}}`,
		"scope elsewhere":    `{"name":"a","scope":{"models":["m"]}}`,
		"empty model":        `{"name":"a","scopes":{"models":[""]}}`,
		"model with a path":  `{"name":"a","scopes":{"models":["../m"]}}`,
		"star within":        `{"name":"a","scopes":{"models":["m*x"]}}`,
		"two stars":          `{"name":"a","scopes":{"models":["m**"]}}`,
		"models as text":     `{"name":"a","scopes":{"models":"m"}}`,
		"relative route":     `{"name":"a","scopes":{"routes":["v1/models"]}}`,
		"route with dots":    `{"name":"a","scopes":{"routes":["/v1/../api/*"]}}`,
		"route with escape":  `{"name":"a","scopes":{"routes":["/v1/%2e%2e/"]}}`,
		"route with query":   `{"name":"a","scopes":{"routes":["/v1/models?x=1"]}}`,
		"route with slashes": `{"name":"a","scopes":{"routes":["//v1"]}}`,
		"route star within":  `{"name":"a","scopes":{"routes":["/v1/*/x"]}}`,
		"too many":           `{"name":"a","scopes":{"models":["m"` + strings.Repeat(`,"m"`, 100) + `]}}`,
		"too long a life":    `{"name":"a","expires_in_days":366}`,
		"a negative life":    `{"name":"a","expires_in_days":-1}`,
		"owner":              `{"name":"a","owner":"../x"}`,
	} {
		var k CreateKey
		if err := json.Unmarshal([]byte(body), &k); err != nil {
			continue
		}
		if err := k.Validate(); !HasCode(err, CodeInvalidRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var k CreateKey
	body := `{"name":"für den Bot","role":"operator","owner":"ann@example.com","scopes":{"models":["qwen3-8b","bge-*","*"],"routes":["/v1/chat/completions","/api/v2/models*","*"]},"expires_in_days":365}`
	if err := json.Unmarshal([]byte(body), &k); err != nil {
		t.Fatal(err)
	}
	if err := k.Validate(); err != nil {
		t.Error(err)
	}
}

// TestAPIKey_withAScopeOfALaterVersion cannot be read: what cannot be enforced lets nobody in.
func TestAPIKey_withAScopeOfALaterVersion(t *testing.T) {
	var k APIKey
	if err := json.Unmarshal([]byte(`{"id":"a","scopes":{"models":[],"routes":[],"tokens_per_day":5}}`), &k); err == nil {
		t.Errorf("read as %+v", k)
	}
}
