package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/openapi"
	"github.com/nebula-serve/nebula/internal/store"
)

// shown is a credential as a request shows it, and the role that it must count as; Public: none at all.
type shown struct {
	kind   string
	role   auth.Role
	header func() []string
}

// TestMatrix_everyCell tries each row of the table with each kind of credential in each role that it can have: what the row allows is answered with
// anything but 401 and 403, and everything else with exactly one of these, in the envelope. A row cannot escape: they come from the table that
// serves, with all its optional parts. What machines may do is tried, by their certificates, in TestMachine_triesEverything.
func TestMatrix_everyCell(t *testing.T) {
	k := newKeyring(t)
	cfg := config(k.st)
	cfg.Feed = says("application/x-ndjson", "")
	serving := map[string]bool{}
	for _, r := range k.table() {
		serving[r.Method+" "+r.Path] = true
	}
	creds := append(k.alive(), k.dead()...)
	fill := strings.NewReplacer("{$}", "", "{model...}", "m", "{role}", "node")
	other := regexp.MustCompile(`\{[^}]*\}`) // of nothing that there is
	cells, rows := 0, k.table()
	for _, r := range rows {
		if r.Role < auth.Public || r.Role > auth.Machine {
			t.Errorf("%s %s has no role that there is", r.Method, r.Path)
		}
		path := other.ReplaceAllString(fill.Replace(r.Path), "none")
		for _, c := range creds {
			cells++
			res, body := k.call(r.Method, path, "", c.header()...)
			what := fmt.Sprintf("%s %s by %s as %s: %d %.200s", r.Method, r.Path, c.kind, c.role, res.StatusCode, body)
			want := 0
			switch {
			case auth.Principal{Role: c.role}.May(r.Role):
			case c.role == auth.Public:
				want = http.StatusUnauthorized
			default:
				want = http.StatusForbidden
			}
			if want == 0 && (res.StatusCode == 401 || res.StatusCode == 403) || want != 0 && res.StatusCode != want {
				t.Errorf("%s; want %d (0: to be let in)", what, want)
				continue
			}
			if want == 0 {
				continue
			}
			if code := map[int]api.Code{401: api.CodeUnauthorized, 403: api.CodeForbidden}[want]; !strings.HasPrefix(path, "/v1/") && !deniedAsV1(r.Path, body) && errorOf(t, body).Code != code {
				t.Errorf("%s; want the code %s", what, code)
			}
		}
	}
	if len(rows) < 60 || cells != len(rows)*len(creds) || len(creds) < 15 {
		t.Errorf("%d rows, %d credentials, %d cells: some were not tried", len(rows), len(creds), cells)
	}
	for _, r := range httpapi.Routes(cfg) {
		if !serving[r.Method+" "+r.Path] && r.Path != "/v1/models" {
			t.Errorf("%s %s was not tried", r.Method, r.Path)
		}
	}
	t.Logf("%d rows, %d credentials, %d cells", len(rows), len(creds), cells)
}

// deniedAsV1 tells whether a refusal is in the shape that old clients read, on one of their routes: an object with a message, and nothing beside it.
func deniedAsV1(path, body string) bool {
	var d struct{ Error map[string]string }
	return openapi.IsV1(path) && json.Unmarshal([]byte(body), &d) == nil && len(d.Error) == 1 && d.Error["message"] != ""
}

// table is that of the keyring's server.
func (k *keyring) table() []httpapi.Route { return httpapi.Routes(k.cfg) }

// alive are the credentials that let somebody in, by each kind and role.
func (k *keyring) alive() []shown {
	k.t.Helper()
	var out []shown
	bearer := func(secret string) func() []string {
		return func() []string { return []string{"Authorization", "Bearer " + secret} }
	}
	xKey := func(secret string) func() []string {
		return func() []string { return []string{"Authorization", "", "X-Api-Key", secret} }
	}
	for role, secret := range secrets {
		out = append(out, shown{"static token", role, bearer(secret)})
	}
	for name, role := range map[string]auth.Role{"ann": auth.Admin, "otto": auth.Operator, "vic": auth.Viewer} {
		out = append(
			out, shown{"personal token", role, bearer(k.personal[name])},
			shown{"session", role, func() []string { // a new one each time: logging out ends it
				return k.session(name, time.Now().Add(time.Hour))
			}},
			shown{"session of version 1", role, func() []string {
				_, token, _ := strings.Cut(k.sessionAs(name, time.Now().Add(time.Hour), true)[3], "=")
				return []string{"Authorization", "Bearer " + token}
			}},
		)
	}
	for role, name := range map[auth.Role]api.Role{auth.Inference: api.RoleInference, auth.Viewer: api.RoleViewer, auth.Operator: api.RoleOperator, auth.Admin: api.RoleAdmin} {
		key := string(k.made(k.personal["ann"], `{"name":"bot","role":"`+string(name)+`"}`).Key)
		out = append(out, shown{"API key", role, bearer(key)}, shown{"API key in x-api-key", role, xKey(key)})
	}
	return out
}

// dead are those that let nobody in.
func (k *keyring) dead() []shown {
	k.t.Helper()
	expired, disabled, orphan, off := auth.MakeKey(), auth.MakeKey(), auth.MakeKey(), auth.MakeKey()
	past := time.Now().Add(-time.Minute).UnixMilli()
	k.write(func(tx *store.Tx) error {
		if err := store.Users.Put(tx, "out", api.User{Name: "out", Role: api.RoleAdmin, Disabled: true}); err != nil {
			return err
		}
		for _, doc := range []api.APIKey{
			{ID: expired.ID, SecretHash: expired.Hash, Owner: "ann", ExpiresAtMS: past},
			{ID: disabled.ID, SecretHash: disabled.Hash, Owner: "ann", Disabled: true},
			{ID: orphan.ID, SecretHash: orphan.Hash, Owner: "nobody"},
			{ID: off.ID, SecretHash: off.Hash, Owner: "out"},
		} {
			doc.Kind, doc.Role = api.KeyPlain, api.RoleAdmin
			if err := store.APIKeys.Put(tx, doc.ID, doc); err != nil {
				return err
			}
		}
		return nil
	})
	var out []shown
	for kind, header := range map[string][]string{
		"no credential": {"Authorization", ""}, "nonsense": {"Authorization", "Bearer x"}, "a join token": {"Authorization", "Bearer nbj_" + strings.Repeat("a", 43)},
		"an expired key": {"Authorization", "Bearer " + string(expired.Secret)}, "a disabled key": {"Authorization", "Bearer " + string(disabled.Secret)},
		"a key of nobody": {"Authorization", "Bearer " + string(orphan.Secret)}, "a key of a disabled user": {"Authorization", "Bearer " + string(off.Secret)},
		"an expired session": k.session("ann", time.Now().Add(-time.Minute)), "a session of a disabled user": k.session("out", time.Now().Add(time.Hour)),
		"a session beside a wrong token":   append(k.session("ann", time.Now().Add(time.Hour)), "Authorization", "Bearer x"),
		"a cookie as a bearer token":       {"Authorization", "Bearer " + strings.TrimPrefix(k.session("ann", time.Now().Add(time.Hour))[3], "nebula-session=")},
		"a token of version 1 as a cookie": k.sessionAs("ann", time.Now().Add(time.Hour), true),
		"basic":                            {"Authorization", "Basic " + secrets[auth.Admin]},
	} {
		out = append(out, shown{kind, auth.Public, func() []string { return header }})
	}
	return out
}

// session logs a user in, and returns the headers of the browser.
func (k *keyring) session(user string, until time.Time) []string {
	return k.sessionAs(user, until, false)
}

func (k *keyring) sessionAs(user string, until time.Time, bearer bool) []string {
	k.t.Helper()
	k.sessions++
	cookie := fmt.Sprintf("cookie-%043d", k.sessions)
	id := auth.Digest(cookie)
	doc := text(k.t, api.Session{ID: id, User: user, CreatedAtMS: 1, ExpiresAtMS: until.UnixMilli(), Bearer: bearer})
	if _, err := k.kv.Txn(k.t.Context(), nil, []store.Op{{Key: "/auth/sessions/" + id, Value: []byte(doc)}}); err != nil {
		k.t.Fatal(err)
	}
	k.settle(nil)
	return []string{"Authorization", "", "Cookie", "nebula-session=" + cookie}
}
