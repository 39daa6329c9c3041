package httpapi_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// keyring is a server with four users, each with a personal key of the same name.
type keyring struct {
	*server
	personal map[string]string
	cfg      httpapi.Config
	sessions int
}

type mayKey struct{}

func newKeyring(t *testing.T) *keyring {
	t.Helper()
	k := &keyring{personal: map[string]string{}}
	k.server = serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) {
		forKeys(cfg)
		k.cfg = *cfg
	})
	k.write(func(tx *store.Tx) error {
		for name, role := range map[string]api.Role{"ann": api.RoleAdmin, "otto": api.RoleOperator, "vic": api.RoleViewer, "eve": api.RoleViewer} {
			if err := store.Users.Put(tx, name, api.User{Name: name, Role: role}); err != nil {
				return err
			}
			made := auth.MakeKey()
			k.personal[name] = string(made.Secret)
			if err := store.APIKeys.Put(tx, made.ID, api.APIKey{ID: made.ID, Kind: api.KeyPersonal, Owner: name, SecretHash: made.Hash}); err != nil {
				return err
			}
		}
		return nil
	})
	return k
}

// forKeys makes a server one in which keys can be told apart by what they may see.
func forKeys(cfg *httpapi.Config) {
	cfg.Feed = says("application/x-ndjson", "")
	cfg.WithModels = func(ctx context.Context, may func(string) bool) context.Context {
		return context.WithValue(ctx, mayKey{}, may)
	}
	cfg.Inference = []httpapi.InferenceRoute{{Method: "GET", Path: "/v1/models/{model...}", Summary: "A model", Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if may, ok := r.Context().Value(mayKey{}).(func(string) bool); ok && !may(r.PathValue("model")) {
				w.WriteHeader(http.StatusNotFound)
				_, _ = io.WriteString(w, `{"error":{"message":"there is none","type":"invalid_request_error","param":null,"code":"model_not_found"}}`)
				return
			}
			_, _ = io.WriteString(w, `{"id":"m","object":"model","created":0,"owned_by":"nebula","root":"acme/m"}`)
		},
	)}}
}

func (k *keyring) write(fn func(*store.Tx) error) {
	k.t.Helper()
	if _, err := k.st.Update(k.t.Context(), store.OwnerControl, fn); err != nil {
		k.t.Fatal(err)
	}
}

// as sends a request with a credential.
func (k *keyring) as(secret string, status int, method, path, body string, header ...string) string {
	k.t.Helper()
	return k.must(status, method, path, body, append([]string{"Authorization", "Bearer " + secret}, header...)...)
}

// made makes a key and returns it.
func (k *keyring) made(secret, body string, header ...string) api.KeyCreated {
	k.t.Helper()
	return keyDoc[api.KeyCreated](k.t, k.as(secret, 201, "POST", "/api/v2/keys", body, header...))
}

func keyDoc[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// TestKeys_life walks a key from its making to its end, and looks for the secret wherever it must not be.
func TestKeys_life(t *testing.T) {
	k := newKeyring(t)
	vic := k.personal["vic"]
	made := k.made(vic, `{"name":"bot"}`)
	secret := string(made.Key)
	if made.Owner != "vic" || made.Role != api.RoleInference || made.State != "active" || !strings.HasPrefix(secret, made.Prefix+"_") ||
		made.ExpiresAtMS < time.Now().AddDate(0, 0, 89).UnixMilli() || made.ExpiresAtMS > time.Now().AddDate(0, 0, 91).UnixMilli() {
		t.Errorf("%+v", made)
	}
	path := "/api/v2/keys/" + made.ID
	k.as(secret, 200, "GET", "/v1/models/m", "")
	k.must(200, "GET", "/v1/models/m", "", "Authorization", "", "X-Api-Key", secret)
	k.as(secret, 403, "GET", "/api/v2/models", "")
	k.as(vic, 200, "PUT", path, `{"disabled":true}`)
	k.as(secret, 401, "GET", "/v1/models/m", "")
	k.as(vic, 200, "PUT", path, `{"disabled":false}`)
	k.as(secret, 200, "GET", "/v1/models/m", "")

	rotated := keyDoc[api.KeyCreated](t, k.as(vic, 200, "POST", path+"/rotate", `{"overlap_hours":1}`))
	k.as(secret, 200, "GET", "/v1/models/m", "")
	k.as(string(rotated.Key), 200, "GET", "/v1/models/m", "")
	again := keyDoc[api.KeyCreated](t, k.as(vic, 200, "POST", path+"/rotate", ""))
	k.as(string(rotated.Key), 401, "GET", "/v1/models/m", "")
	k.as(secret, 401, "GET", "/v1/models/m", "")
	k.as(string(again.Key), 200, "GET", "/v1/models/m", "")
	k.as(vic, 400, "POST", path+"/rotate", `{"overlap_hours":25}`)

	everything := k.as(vic, 200, "GET", path, "") + k.as(k.personal["ann"], 200, "GET", "/api/v2/keys", "")
	for _, prefix := range []string{"/", ""} {
		all, _, err := k.kv.List(t.Context(), prefix)
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range all {
			everything += kv.Key + string(kv.Value)
		}
	}
	for _, s := range []string{secret, string(rotated.Key), string(again.Key)} {
		if strings.Contains(everything, s) || strings.Contains(everything, s[16:]) {
			t.Error("a secret is stored or shown again")
		}
	}
	k.as(vic, 200, "DELETE", path, "")
	k.as(string(again.Key), 401, "GET", "/v1/models/m", "")
	k.as(vic, 404, "GET", path, "")
}

// TestKeys_ofOthers: for all but admins somebody else's key is to the letter like one that does not exist.
func TestKeys_ofOthers(t *testing.T) {
	k := newKeyring(t)
	id := k.made(k.personal["vic"], `{"name":"bot"}`).ID
	for _, c := range [][3]string{{"GET", "", ""}, {"PUT", "", `{"disabled":true}`}, {"DELETE", "", ""}, {"POST", "/rotate", ""}} {
		for _, who := range []string{"eve", "otto"} {
			theirs := k.as(k.personal[who], 404, c[0], "/api/v2/keys/"+id+c[1], c[2])
			none := k.as(k.personal[who], 404, c[0], "/api/v2/keys/000000000000"+c[1], c[2])
			if a, b := errorOf(t, theirs).Message, errorOf(t, none).Message; strings.ReplaceAll(a, id, "000000000000") != b {
				t.Errorf("%v: %s differs from %s", c, a, b)
			}
		}
	}
	count := func(who, query string) int {
		return len(keyDoc[[]api.KeyView](t, k.as(k.personal[who], 200, "GET", "/api/v2/keys"+query, "")))
	}
	if n := count("eve", ""); n != 1 { // her personal one
		t.Errorf("eve sees %d keys", n)
	}
	if all, vics := count("ann", ""), count("ann", "?owner=vic"); all != 5 || vics != 2 {
		t.Errorf("ann sees %d keys, and %d of vic", all, vics)
	}
	k.as(k.personal["eve"], 403, "GET", "/api/v2/keys?owner=vic", "")
	k.as(k.personal["eve"], 403, "POST", "/api/v2/keys", `{"name":"x","owner":"vic"}`)
	k.as(k.personal["ann"], 200, "DELETE", "/api/v2/keys/"+id, "")
	k.as(secrets[auth.Admin], 400, "POST", "/api/v2/keys", `{"name":"x"}`) // the machine's own credential is no user's
	k.as(secrets[auth.Admin], 201, "POST", "/api/v2/keys", `{"name":"x","owner":"vic"}`)
	k.as(secrets[auth.Admin], 400, "POST", "/api/v2/keys", `{"name":"x","owner":"nobody"}`)
	if got := k.as(secrets[auth.Viewer], 200, "GET", "/api/v2/keys", ""); strings.TrimSpace(got) != "[]" {
		t.Errorf("a credential that is no user's sees keys: %s", got)
	}
}

// TestKeys_neverMoreThanTheirMaker tries every way up.
func TestKeys_neverMoreThanTheirMaker(t *testing.T) {
	k := newKeyring(t)
	for _, c := range []struct {
		who, role string
		status    int
	}{{"vic", "viewer", 201}, {"vic", "operator", 400}, {"vic", "admin", 400}, {"otto", "operator", 201}, {"otto", "admin", 400}, {"ann", "admin", 201}} {
		k.as(k.personal[c.who], c.status, "POST", "/api/v2/keys", `{"name":"x","role":"`+c.role+`"}`)
	}
	ann := k.personal["ann"]
	strong := k.made(ann, `{"name":"strong","role":"admin"}`)
	weak := string(k.made(ann, `{"name":"weak","role":"viewer"}`).Key)
	k.as(weak, 403, "POST", "/api/v2/keys", `{"name":"x","role":"operator"}`)
	k.as(weak, 201, "POST", "/api/v2/keys", `{"name":"x","role":"viewer","expires_in_days":1}`)
	k.as(weak, 403, "POST", "/api/v2/keys", `{"name":"x","expires_in_days":365}`) // it would outlive its maker
	k.as(weak, 403, "POST", "/api/v2/keys/"+strong.ID+"/rotate", "")
	k.as(weak, 403, "PUT", "/api/v2/keys/"+strong.ID, `{"name":"y"}`)

	narrow := k.made(ann, `{"name":"narrow","role":"admin","scopes":{"routes":["/api/v2/keys*"]}}`)
	n := string(narrow.Key)
	k.as(n, 403, "GET", "/api/v2/models", "")
	k.as(n, 403, "POST", "/api/v2/keys", `{"name":"x","role":"admin"}`)
	k.as(n, 403, "POST", "/api/v2/keys", `{"name":"x","role":"admin","scopes":{"routes":["*"]}}`)
	k.as(n, 403, "POST", "/api/v2/keys", `{"name":"x","role":"admin","scopes":{"routes":["/api/v2/keys*","/api/v2/models"]}}`)
	k.as(n, 201, "POST", "/api/v2/keys", `{"name":"x","role":"admin","scopes":{"routes":["/api/v2/keys"]}}`)
	k.as(n, 403, "PUT", "/api/v2/keys/"+narrow.ID, `{"scopes":{"routes":[]}}`)
	k.as(n, 403, "POST", "/api/v2/keys/"+strong.ID+"/rotate", "")

	// The owner's role counts when the key is used, too.
	k.write(func(tx *store.Tx) error {
		return store.Users.Put(tx, "ann", api.User{Name: "ann", Role: api.RoleViewer})
	})
	k.as(string(strong.Key), 200, "GET", "/api/v2/models", "")
	k.as(string(strong.Key), 403, "PUT", "/api/v2/secrets/a", `{"value":"x"}`)
	if v := keyDoc[api.KeyView](t, k.as(string(strong.Key), 200, "GET", "/api/v2/keys/"+strong.ID, "")); !v.OwnerRoleLimits {
		t.Errorf("nothing says why: %+v", v)
	}
	k.write(func(tx *store.Tx) error {
		return store.Users.Put(tx, "ann", api.User{Name: "ann", Role: api.RoleAdmin, Disabled: true})
	})
	k.as(string(strong.Key), 401, "GET", "/api/v2/models", "")
	k.write(func(tx *store.Tx) error { return store.Users.Delete(tx, "ann") })
	k.as(string(strong.Key), 401, "GET", "/api/v2/models", "")
}

func TestKeys_scopesAtUse(t *testing.T) {
	k := newKeyring(t)
	otto := k.personal["otto"]
	k.as(otto, 201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m"}`)
	k.as(otto, 201, "POST", "/api/v2/models", `{"model_name":"acme/n","model_uid":"n"}`)
	one := string(k.made(otto, `{"name":"one","role":"operator","scopes":{"models":["m"]}}`).Key)
	for _, c := range []struct {
		status             int
		method, path, body string
	}{
		{200, "GET", "/v1/models/m", ""},
		{404, "GET", "/v1/models/n", ""},
		{404, "GET", "/v1/models/M", ""},
		{404, "GET", "/v1/models/m/n", ""},
		{200, "GET", "/api/v2/models", ""},
		{200, "GET", "/api/v2/models/m", ""},
		{403, "GET", "/api/v2/models/n", ""},
		{200, "POST", "/api/v2/models/m/start", ""},
		{403, "POST", "/api/v2/models/n/start", ""},
		{403, "POST", "/api/v2/models", `{"model_name":"acme/o"}`},
		{403, "POST", "/api/v2/keys", `{"name":"x"}`},
		{403, "POST", "/api/v2/models/..%2fm/start", ""},
	} {
		k.as(one, c.status, c.method, c.path, c.body)
	}
	chat := string(k.made(otto, `{"name":"chat","role":"operator","scopes":{"routes":["/v1/models/m"]}}`).Key)
	k.as(chat, 200, "GET", "/v1/models/m", "")
	k.as(chat, 403, "GET", "/v1/models/m2", "")
	k.as(chat, 403, "GET", "/api/v2/models", "")
	for _, bad := range []string{`{"routes":["/nothing/here"]}`, `{"routes":["/api/v2/modls*"]}`, `{"routes":["/v1/models/m/*/x"]}`, `{"modles":["m"]}`, `{"models":["a b"]}`} {
		k.as(otto, 400, "POST", "/api/v2/keys", `{"name":"x","scopes":`+bad+`}`)
	}
}

func TestKeys_dryRunIfMatchIdempotency(t *testing.T) {
	k := newKeyring(t)
	vic := k.personal["vic"]
	if dry := k.tried(vic, "?dry_run=1"); dry.Key != "" || dry.Name != "bot" {
		t.Errorf("a dry run: %+v", dry)
	}
	if list := keyDoc[[]api.KeyView](t, k.as(vic, 200, "GET", "/api/v2/keys", "")); len(list) != 1 {
		t.Errorf("a dry run made a key: %+v", list)
	}
	first := k.made(vic, `{"name":"bot"}`, "Idempotency-Key", "abc")
	second := k.made(vic, `{"name":"bot"}`, "Idempotency-Key", "abc")
	if first.Key == "" || second.Key != "" || first.ID != second.ID {
		t.Errorf("first %s with a secret: %v; then %s with one: %v", first.ID, first.Key != "", second.ID, second.Key != "")
	}
	k.as(vic, 409, "POST", "/api/v2/keys", `{"name":"other"}`, "Idempotency-Key", "abc")
	path := "/api/v2/keys/" + first.ID
	turn := func() api.KeyCreated {
		return keyDoc[api.KeyCreated](t, k.as(vic, 200, "POST", path+"/rotate", "", "Idempotency-Key", "r"))
	}
	if a, b := turn(), turn(); a.Key == "" || b.Key != "" {
		t.Error("a rotation that was carried out before is answered with a secret")
	} else {
		k.as(string(a.Key), 200, "GET", "/v1/models/m", "")
	}
	if dry := keyDoc[api.KeyCreated](t, k.as(vic, 200, "POST", path+"/rotate?dry_run=1", "")); dry.Key != "" {
		t.Error("a dry run shows a secret")
	}
	res, _ := k.call("GET", path, "", "Authorization", "Bearer "+vic)
	tag := res.Header.Get("ETag")
	k.as(vic, 200, "PUT", path, `{"name":"b"}`, "If-Match", tag)
	k.as(vic, 412, "PUT", path, `{"name":"c"}`, "If-Match", tag)
	k.as(vic, 412, "DELETE", path, "", "If-Match", tag)
	k.as(vic, 412, "POST", path+"/rotate", "", "If-Match", tag)
}

func (k *keyring) tried(secret, query string) api.KeyCreated {
	k.t.Helper()
	return keyDoc[api.KeyCreated](k.t, k.as(secret, 201, "POST", "/api/v2/keys"+query, `{"name":"bot"}`))
}
