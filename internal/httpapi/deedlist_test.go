package httpapi_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/openapi/openapitest"
	"github.com/nebula-serve/nebula/internal/store"
)

// Why some deeds are in no audit log.
const (
	ofAMachine = "a machine tells what is true on it: nobody has changed anything"
	onlyAsks   = "it only asks"
)

// deeds are in the order in which one makes the next one possible.
func deeds() []deed {
	var all []deed
	for _, of := range [][]deed{deedsOfPeople(), deedsOfKeys(), deedsOfMachines(), deedsOfModels(), deedsOfStore(), deedsOfV1()} {
		all = append(all, of...)
	}
	return all
}

func deedsOfPeople() []deed {
	login := deed{row: "POST /api/v2/auth/login", as: "nobody", body: `{"username":"ann","password":"$password"}`, after: func(d *doer, a openapitest.Answer) {
		d.noted["cookie"], _, _ = strings.Cut(a.Header.Get("Set-Cookie"), ";")
	}}
	return []deed{
		{
			row: "POST /api/v2/setup", records: 2 /* the user, and their login */, as: "nobody", body: `{"token":"$setup","username":"ann","password":"$password"}`,
			before: func(d *doer) { // the fuzzer's ann goes: nobody is left
				d.raw(store.Op{Key: "/auth/users/ann", Delete: true}, store.Op{Key: "/auth/passwords/ann", Delete: true})
			},
		},
		login,
		{row: "POST /api/v2/auth/token", as: "nobody", body: `{"username":"ann","password":"$password","name":"laptop"}`},
		{row: "PUT /api/v2/profile", as: "session", body: `{"display_name":"Ann"}`},
		{row: "PUT /api/v2/password", as: "session", body: `{"current_password":"$password","new_password":"another horse battery staple 8"}`, after: func(d *doer, _ openapitest.Answer) {
			d.noted["password"] = "another horse battery staple 8"
		}},
		{row: "POST /api/v2/users", as: "admin", body: `{"name":"bob","role":"viewer"}`},
		{row: "PUT /api/v2/users/{name}", path: "/api/v2/users/bob", as: "admin", body: `{"role":"operator"}`},
		{row: "PUT /api/v2/users/{name}/password", path: "/api/v2/users/bob/password", as: "admin", body: `{"password":"yet another horse battery 9"}`},
		{row: "DELETE /api/v2/users/{name}", path: "/api/v2/users/bob", as: "admin"},
		{
			row: "DELETE /api/v2/sessions/{id}", path: "/api/v2/sessions/$session", as: "admin",
			before: func(d *doer) {
				must(login)(d)
				a := d.do(d.t, deed{row: "GET /api/v2/sessions", as: "session"})
				var list []api.SessionView
				if err := json.Unmarshal(a.Body, &list); err != nil || len(list) == 0 {
					d.t.Fatalf("sessions: %s", a.Body)
				}
				for _, s := range list {
					if !s.Current {
						d.noted["session"] = s.ID
					}
				}
			},
		},
		{row: "POST /api/v2/auth/logout", as: "session", before: must(login)},
	}
}

func deedsOfKeys() []deed {
	return []deed{
		{row: "POST /api/v2/keys", as: "admin", body: `{"name":"bot","owner":"ann"}`, after: note("id", "key")},
		{row: "PUT /api/v2/keys/{id}", path: "/api/v2/keys/$key", as: "admin", body: `{"name":"other"}`},
		{row: "POST /api/v2/keys/{id}/rotate", path: "/api/v2/keys/$key/rotate", as: "admin", body: `{}`},
		{row: "POST /api/v2/gateways/{id}/key-uses", path: "/api/v2/gateways/g1/key-uses", as: "gateway", body: `{"uses":[]}`, quiet: ofAMachine},
		{row: "DELETE /api/v2/keys/{id}", path: "/api/v2/keys/$key", as: "admin"},
		{row: "PUT /api/v2/secrets/{name}", path: "/api/v2/secrets/hf", as: "admin", body: `{"value":"abcdefghijklmnop"}`},
		{row: "DELETE /api/v2/secrets/{name}", path: "/api/v2/secrets/other", as: "admin", before: must(deed{row: "PUT /api/v2/secrets/other", as: "admin", body: `{"value":"abcdefghijklmnop"}`})},
	}
}

func deedsOfMachines() []deed {
	token := deed{row: "POST /api/v2/tokens", as: "admin", body: `{"for":"node"}`, after: func(d *doer, a openapitest.Answer) {
		note("token", "join")(d, a)
		note("id", "token")(d, a)
	}}
	return []deed{
		token,
		{row: "POST /api/v2/join", as: "nobody", body: `{"token":"$join","role":"node","id":"n8","csr":"$csr"}`, before: func(d *doer) {
			csr, _ := d.request()
			d.noted["csr"] = base64.StdEncoding.EncodeToString(csr)
		}},
		{row: "DELETE /api/v2/tokens/{token}", as: "admin", before: must(token)},
		{row: "POST /api/v2/renew", as: "node", body: `{"csr":"$csr"}`, quiet: "the machine stays who it is, by the same key", before: func(d *doer) {
			d.noted["csr"] = base64.StdEncoding.EncodeToString(d.machines["node"].csr)
		}},
		{row: "PUT /api/v2/nodes/{id}/observed", path: "/api/v2/nodes/n1/observed", as: "node", body: `{"node":{"node_id":"n1","epoch":1,"seq":1},"disk":{"node_id":"n1","model_dir":"/m","total_bytes":100},"endpoints":[],"downloads":[],"cache":[]}`, quiet: ofAMachine},
		{row: "POST /api/v2/nodes/{id}/heartbeat", path: "/api/v2/nodes/n1/heartbeat", as: "node", body: `{"epoch":1,"seq":1}`, quiet: ofAMachine},
		{row: "POST /api/v2/nodes/{id}/blobs", path: "/api/v2/nodes/n1/blobs", as: "node", body: `{}`, quiet: ofAMachine},
		{row: "POST /api/v2/nodes/{id}/cordon", path: "/api/v2/nodes/n1/cordon", as: "admin"},
		{row: "POST /api/v2/nodes/{id}/uncordon", path: "/api/v2/nodes/n1/uncordon", as: "admin"},
		{row: "POST /api/v2/nodes/{id}/drain", path: "/api/v2/nodes/n1/drain", as: "admin"},
		{row: "POST /api/v2/nodes/{id}/cache/prune", path: "/api/v2/nodes/n1/cache/prune", as: "admin", body: `{"min_age_ms":1}`},
		{row: "POST /api/v2/nodes/{id}/cache/prune/dry-run", path: "/api/v2/nodes/n1/cache/prune/dry-run", as: "admin", body: `{"min_age_ms":1}`, quiet: onlyAsks},
		{row: "DELETE /api/v2/nodes/{id}/cache", path: "/api/v2/nodes/n1/cache?model=acme/other", as: "admin"},
		{row: "POST /api/v2/nodes/{id}/cache/verify", path: "/api/v2/nodes/n1/cache/verify", as: "admin", body: `{}`},
		{row: "DELETE /api/v2/nodes/{id}", path: "/api/v2/nodes/n9", as: "admin", before: in(api.MachineNode, "n9")},
		{row: "DELETE /api/v2/members/{role}/{id}", path: "/api/v2/members/gateway/g9", as: "admin", before: in(api.MachineGateway, "g9")},
	}
}

func deedsOfModels() []deed {
	at := func(row, method string) deed {
		return deed{row: method + " /api/v2/models/{uid}" + row, path: "/api/v2/models/m" + row, as: "admin"}
	}
	with := func(d deed, body string) deed { d.body = body; return d }
	pull := deed{row: "POST /api/v2/cache/pull", as: "admin", body: `{"model_uid":"m","node_ids":["n1"]}`, after: note("pull_id", "pull")}
	return []deed{
		{row: "POST /api/v2/models", as: "admin", body: `{"model_name":"acme/m","model_uid":"m","token_secret":"hf"}`},
		with(at("", "PUT"), `{"labels":{"a":"b"}}`),
		with(at("", "PATCH"), `{"labels":{"a":"c"}}`),
		with(at("/deployment", "PUT"), `{"desired_state":"running","replicas":2}`),
		at("/stop", "POST"),
		with(at("/start", "POST"), `{}`),
		with(at("/scale", "PUT"), `{"replicas":3}`),
		{
			row: "GET /api/v2/nodes/{id}/secrets/{uid}", path: "/api/v2/nodes/n1/secrets/m", as: "node",
			before: func(d *doer) {
				if _, err := d.st.Update(d.t.Context(), store.OwnerScheduler, func(tx *store.Tx) error {
					return store.Placements.Put(tx, "m", api.PlacementPlan{ModelUID: "m", Version: 1, Assignments: []api.PlacementAssignment{{NodeID: "n1"}}})
				}); err != nil {
					d.t.Fatal(err)
				}
			},
		},
		{row: "POST /api/v2/models/{uid}/replicas/{id}/drain", path: "/api/v2/models/m/replicas/0/drain", as: "admin"},
		pull,
		{row: "DELETE /api/v2/cache/pulls/{node}/{pull}", path: "/api/v2/cache/pulls/n1/$pull", as: "admin"},
		{row: "POST /api/v2/cache/pin", as: "admin", body: `{"model_uid":"m","node_ids":["n1"]}`},
		{row: "POST /api/v2/cache/unpin", as: "admin", body: `{"model_uid":"m"}`},
		with(at("/save-as-template", "POST"), `{"name":"Saved","template_id":"saved"}`),
		{row: "POST /api/v2/templates", as: "admin", body: `{"name":"T","template_id":"t1","model_name":"acme/t"}`},
		{row: "PUT /api/v2/templates/{id}", path: "/api/v2/templates/t1", as: "admin", body: `{"name":"U"}`},
		{row: "POST /api/v2/templates/{id}/deploy", path: "/api/v2/templates/t1/deploy", as: "admin", body: `{"model_uid":"t"}`},
		{row: "DELETE /api/v2/templates/{id}", path: "/api/v2/templates/t1", as: "admin"},
		at("", "DELETE"),
	}
}

func deedsOfStore() []deed {
	var out []deed
	for verb, mended := range map[string]string{"compact": "it makes room", "defragment": "it makes room", "disarm": "it ends the alarm", "reclaim": "it makes room"} {
		out = append(out, deed{row: "POST /api/v2/admin/store/" + verb, as: "admin", mended: mended})
	}
	return append(
		out,
		deed{row: "GET /api/v2/admin/backup", as: "admin"},
		deed{row: "POST /api/v2/migrate", as: "admin", before: func(d *doer) {
			const old = `{"id":"r1","request":{"model_name":"acme/Demo","model_uid":"of-version-1"},"status":"Running","created_at_ms":5}`
			d.raw(store.Op{Key: "/model_requests/r1", Value: []byte(old)}, store.Op{Key: "/models/of-version-1/spec", Delete: true}, store.Op{Key: "/deployments/of-version-1", Delete: true})
		}},
		deed{row: "GET /api/v2/audit/{seq}", path: "/api/v2/audit/1", as: "admin", quiet: onlyAsks},
		deed{row: "POST /api/v2/cluster/accept-history", as: "admin", before: func(d *doer) {
			s, _ := d.st.Current()
			info, _ := s.Info.Value(api.ClusterInfoID)
			info.HistoryAccepted = false
			d.raw(store.Op{Key: "/cluster/info", Value: []byte(text(d.t, info))})
		}},
		deed{row: "POST /api/v2/admin/audit/repair", as: "admin", before: func(d *doer) {
			d.raw(store.Op{Key: "/audit_head/last", Value: []byte("damaged")})
		}},
	)
}

// deedsOfV1 are those of old clients.
func deedsOfV1() []deed {
	return []deed{
		{row: "POST /api/models/load", as: "admin", body: `{"model_name":"acme/old","model_uid":"old_1"}`, after: note("request_id", "request")},
		{row: "PUT /api/models/requests/{id}/scale", path: "/api/models/requests/$request/scale", as: "admin", body: `{"replicas":2}`},
		{row: "DELETE /api/models/requests/{id}", path: "/api/models/requests/$request", as: "admin"},
		{row: "PUT /api/images/{id}", path: "/api/images/i1", as: "admin", body: `{"id":"i1","engine_type":"vllm","image":"a:1"}`},
		{row: "DELETE /api/images/{id}", path: "/api/images/i1", as: "admin"},
		{row: "POST /api/endpoints/drain", as: "admin", body: `{"model_uid":"d","replica_id":0}`, before: placed("d")},
		{row: "POST /v1/admin/endpoints/drain", as: "admin", body: `{"model_uid":"e","replica_id":0}`, before: placed("e")},
		{row: "POST /v1/admin/models/load", as: "admin", body: `{"model_name":"acme/old","model_uid":"old_2"}`, after: note("request_id", "request")},
		{row: "PUT /v1/admin/models/requests/{id}/scale", path: "/v1/admin/models/requests/$request/scale", as: "admin", body: `{"replicas":2}`},
		{row: "POST /v1/admin/models/requests/{id}", path: "/v1/admin/models/requests/$request", as: "admin"},
		{row: "DELETE /v1/admin/models/requests/{id}", path: "/v1/admin/models/requests/$request", as: "admin", before: must(deed{row: "POST /api/models/load", as: "admin", body: `{"model_name":"acme/old","model_uid":"old_3"}`, after: note("request_id", "request")})},
		{row: "PUT /v1/admin/images/{id}", path: "/v1/admin/images/i2", as: "admin", body: `{"id":"i2","engine_type":"vllm","image":"a:1"}`},
		{row: "DELETE /v1/admin/images/{id}", path: "/v1/admin/images/i2", as: "admin"},
		{row: "POST /api/auth/login", as: "nobody", body: `{"username":"ann","password":"$password"}`, after: note("token", "bearer")},
		{row: "PUT /api/auth/profile", as: "bearer", body: `{"display_name":"Ann of old"}`},
		{row: "PUT /api/auth/settings", as: "bearer", body: `{"email_alerts":true}`},
		{row: "POST /api/auth/users", as: "bearer", body: `{"username":"eve","password":"one more horse battery 10","role":"Viewer"}`, after: note("id", "eve")},
		{row: "PUT /api/auth/users/{id}", path: "/api/auth/users/$eve", as: "bearer", body: `{"role":"operator","password":"a very last horse battery 11"}`},
		{row: "DELETE /api/auth/users/{id}", path: "/api/auth/users/$eve", as: "bearer"},
		{row: "POST /api/auth/logout", as: "bearer"},
	}
}

// placed makes a model that runs, with a replica that has its place.
func placed(uid string) func(*doer) {
	return func(d *doer) {
		d.raw(
			store.Op{Key: "/models/" + uid + "/spec", Value: []byte(`{"model_uid":"` + uid + `","model_name":"acme/m","model_source":"huggingface"}`)},
			store.Op{Key: "/deployments/" + uid, Value: []byte(`{"model_uid":"` + uid + `","desired_state":"running","replicas":1,"version":1}`)},
			store.Op{Key: "/placements/" + uid, Value: []byte(text(d.t, api.PlacementPlan{ModelUID: uid, Version: 1, Assignments: []api.PlacementAssignment{{NodeID: "n1"}}}))},
		)
	}
}
