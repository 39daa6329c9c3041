package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/audit"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/openapi"
	"github.com/nebula-serve/nebula/internal/store"
)

// manyOfEverything fills every table that a route lists with some objects, in no order. A new list adds its own.
func manyOfEverything(t *testing.T, s *server) {
	t.Helper()
	docs := map[string]string{}
	var end api.AuditHead
	for i, id := range []string{"n", "a", "a-b", "z.9", "a.b", "m_1", "Q"} {
		docs["/models/"+id+"/spec"] = fmt.Sprintf(`{"model_uid":%q,"model_name":"acme/%s","model_source":"huggingface"}`, id, id)
		docs["/nodes/"+id+"/status"] = fmt.Sprintf(`{"node_id":%q}`, id)
		docs["/members/node/"+id] = fmt.Sprintf(`{"role":"node","id":%q,"draining":true}`, id)
		docs["/alerts/"+id+"/disk_warning"] = fmt.Sprintf(`{"node_id":%q,"alert_type":"disk_warning","message":"full"}`, id)
		docs["/placements/"+id] = fmt.Sprintf(`{"model_uid":%q,"assignments":[{"replica_id":0,"node_id":"n"}],"unplaced":{"code":"node_draining","message":"No room."}}`, id)
		docs["/model_cache/n/"+id] = fmt.Sprintf(`{"node_id":"n","model_name":"acme/%d","cache_path":"/m/%s"}`, i/2, id)
		docs["/join_tokens/"+id] = fmt.Sprintf(`{"id":%q,"for":"node"}`, id)
		docs["/templates/"+id] = fmt.Sprintf(`{"template_id":%q,"name":"%s","model_name":"acme/m","source":"user"}`, id, id)
		docs["/auth/users/"+id] = fmt.Sprintf(`{"name":%q,"role":"viewer"}`, id)
		docs["/auth/keys/"+id] = fmt.Sprintf(`{"id":%q,"kind":"key","name":"k","owner":%q,"role":"viewer","scopes":{}}`, id, id)
		session := fmt.Sprintf("%016x%048x", i+1, 0) // what is shown are the first digits
		docs["/auth/sessions/"+session] = fmt.Sprintf(`{"id":%q,"user":%q,"created_at_ms":1,"expires_at_ms":9000000000000}`, session, id)
		docs["/endpoints/"+id+"/0"] = fmt.Sprintf(`{"model_uid":%q,"replica_id":0,"node_id":"n","status":"ready"}`, id)
		docs["/secrets/"+id] = fmt.Sprintf(`{"name":%q}`, id)
		docs["/model_requests/"+id] = fmt.Sprintf(`{"id":%q,"request":{"model_name":"acme/%s","model_uid":%q},"status":"Pending","created_at_ms":1}`, id, id, id)
		docs["/images/"+id] = fmt.Sprintf(`{"id":%q,"engine_type":"vllm","image":"a:1"}`, id)
		docs["/image_status/n/"+id] = fmt.Sprintf(`{"node_id":"n","image_id":%q,"image":"a:1","status":"ready"}`, id)
		wish := api.CacheWish{NodeID: id, Kind: api.WishPull, Spec: api.ModelSpec{ModelUID: id, ModelName: "acme/" + id, ModelSource: api.SourceHuggingFace}}
		b, err := json.Marshal(wish)
		if err != nil {
			t.Fatal(err)
		}
		docs["/cache_wishes/"+wish.Key()] = string(b)
		docs[fmt.Sprintf("/events/n/%013d-%012d", i, i)] = fmt.Sprintf(`{"id":"%013d-%012d","model_uid":"n","verb":"model.stop"}`, i, i)
		rec, line, head, err := audit.Chain(end, api.AuditRecord{Verb: "model.stop", Object: "model/" + id, Result: api.AuditOK})
		if err != nil {
			t.Fatal(err)
		}
		end = head
		docs[fmt.Sprintf("/audit/%020d", rec.Seq)] = string(line)
	}
	docs["/audit_head/last"] = fmt.Sprintf(`{"seq":%d,"hash":%q}`, end.Seq, end.Hash)
	for key, doc := range docs {
		if _, err := s.kv.Txn(t.Context(), nil, []store.Op{{Key: key, Value: []byte(doc)}}); err != nil {
			t.Fatal(err)
		}
	}
	s.settle(docs)
	for _, path := range []string{"/api/whoami", "/api/overview", "/api/healthz"} { // who calls version 1 is a list, too
		s.must(200, "GET", path, "")
	}
}

// settle waits until the server's state shows what the store holds.
func (s *server) settle(docs map[string]string) {
	s.t.Helper()
	_, revision, err := s.kv.List(s.t.Context(), "/")
	if err != nil {
		s.t.Fatal(err)
	}
	for {
		st, changed := s.st.Current()
		if st.Bad.Len() > 0 {
			for bad := range st.Bad.All() {
				s.t.Fatalf("%s: %s: %s", bad.ID, bad.Value.Err, docs[bad.ID])
			}
		}
		if st.Revision >= revision {
			return
		}
		<-changed
	}
}

// notOfTheStore are lists of which nothing is kept, so that there are no pages of them.
var notOfTheStore = map[string]string{"/api/models/search": "the hub finds them anew each time", "/api/v2/hub/models": "the same", "/api/engine-stats": "the engines are asked each time"}

// listsOf returns the rows of the table whose answers are lists, each with a path that has something to list.
func listsOf(t *testing.T, cfg httpapi.Config) map[string]httpapi.Route {
	t.Helper()
	out := map[string]httpapi.Route{}
	for _, r := range httpapi.Routes(cfg) {
		if typ := reflect.TypeOf(r.Response); r.Method == "GET" && notOfTheStore[r.Path] == "" && typ != nil && typ.Kind() == reflect.Slice {
			out[strings.NewReplacer("{id}", "n", "{uid}", "n", "{name}", "n").Replace(r.Path)] = r
		}
	}
	return out
}

func decodeList(t require, path, body string) []string {
	var raw []json.RawMessage
	if err := json.Unmarshal([]byte(body), &raw); err != nil || raw == nil {
		t.Fatalf("%s is not an array: %v: %s", path, err, body)
	}
	out := make([]string, len(raw))
	for i := range raw {
		out[i] = string(raw[i])
	}
	return out
}

// require is what a test and a property have alike.
type require interface {
	Fatalf(format string, args ...any)
}

// TestPages_everyList: whatever the length of the pages, one after the other they are the whole list, and nothing is there twice.
func TestPages_everyList(t *testing.T) {
	s := serve(t)
	manyOfEverything(t, s)
	for path, r := range listsOf(t, config(s.st)) {
		t.Run(path, func(t *testing.T) {
			if r.Has&httpapi.Pages == 0 {
				t.Fatal("the row says nothing of pages: add Has: Pages, and answer with writePage")
			}
			whole := decodeList(t, path, s.must(200, "GET", path, ""))
			if len(whole) < 3 {
				t.Fatalf("%d objects are too few to try it: put some into manyOfEverything", len(whole))
			}
			rapid.Check(t, func(t *rapid.T) {
				var paged []string
				whole, from := whole, path
				if len(r.Sort) > 0 {
					from += "?sort=" + rapid.SampledFrom([]string{"", "-"}).Draw(t, "down") + rapid.SampledFrom(r.Sort).Draw(t, "order")
					sorted := decodeList(t, from, s.must(200, "GET", from, ""))
					if diff := cmp.Diff(slices.Sorted(slices.Values(whole)), slices.Sorted(slices.Values(sorted))); diff != "" {
						t.Fatalf("%s has other objects:\n%s", from, diff)
					}
					whole = sorted
				}
				for next := from; next != ""; {
					limit := rapid.IntRange(1, len(whole)+1).Draw(t, "limit")
					u, err := url.Parse(next)
					if err != nil {
						t.Fatalf("Link %s: %v", next, err)
					}
					q := u.Query()
					q.Set("limit", fmt.Sprint(limit))
					u.RawQuery = q.Encode()
					res, body := s.call("GET", u.String(), "")
					part := decodeList(t, u.String(), body)
					if res.StatusCode != 200 || len(part) > limit || len(part) == 0 {
						t.Fatalf("%s: %d, %d objects: %s", u, res.StatusCode, len(part), body)
					}
					paged = append(paged, part...)
					link, more := "", false
					for _, l := range res.Header.Values("Link") {
						if to, is := strings.CutSuffix(strings.TrimPrefix(l, "<"), `>; rel="next"`); is {
							link, more = to, true
						}
					}
					if next = link; more != (res.Header.Get("Nebula-Next-Cursor") != "") || more && !strings.Contains(link, "cursor="+res.Header.Get("Nebula-Next-Cursor")) {
						t.Fatalf("the headers differ: %v", res.Header)
					}
				}
				if diff := cmp.Diff(whole, paged); diff != "" {
					t.Fatalf("the pages are not the list:\n%s", diff)
				}
			})
			for _, query := range []string{
				"limit=0", "limit=-1", "limit=1001", "limit=x", "limit=1e3", "cursor=n", "cursor=../", "cursor=%00", "cursor=AAAAAG4",
				"cursor=" + strings.Repeat("A", 5000), "limit=1&cursor=" + elsewhere(s, path), "sort=" + strings.Repeat("x", 300), "sort=--id",
			} {
				if strings.HasPrefix(query, "sort=") && len(r.Sort) == 0 {
					continue
				}
				res, body := s.call("GET", path+"?"+query, "")
				switch openapi.FailureOf(path, res.StatusCode) { // two have no code
				case openapi.FailureText:
					body = text(t, api.Envelope{Error: api.Error{Code: api.CodeInvalidRequest, Message: body, RequestID: "r"}})
				case openapi.FailureAuth:
					body = strings.NewReplacer(`{"error":"`, `{"error":{"code":"invalid_request","request_id":"r","message":"`, `"}`, `"}}`).Replace(body)
				}
				if e := errorOf(t, body); res.StatusCode != 400 || e.Code != api.CodeInvalidRequest {
					t.Errorf("?%.40s: %d %s", query, res.StatusCode, body)
				}
			}
		})
	}
}

// elsewhere returns a good cursor of another list.
func elsewhere(s *server, path string) string {
	other := "/api/v2/models"
	if path == other {
		other = "/api/v2/nodes"
	}
	res, _ := s.call("GET", other+"?limit=1", "", "Authorization", "Bearer "+secrets[auth.Admin])
	return res.Header.Get("Nebula-Next-Cursor")
}

// TestPages_whileTheListChanges: what comes and goes between two pages neither hides nor repeats another object.
func TestPages_whileTheListChanges(t *testing.T) {
	s := serve(t)
	for _, uid := range []string{"b", "d", "f"} {
		s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"`+uid+`"}`)
	}
	res, _ := s.call("GET", "/api/v2/models?limit=2", "")
	s.must(200, "DELETE", "/api/v2/models/d", "") // the last of the page, by which the cursor goes
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"a"}`)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"e"}`)
	body := s.must(200, "GET", "/api/v2/models?cursor="+res.Header.Get("Nebula-Next-Cursor"), "")
	var got []string
	for _, m := range decodeList(t, "the second page", body) {
		var v api.ModelView
		if err := json.Unmarshal([]byte(m), &v); err != nil {
			t.Fatal(err)
		}
		got = append(got, v.ModelUID)
	}
	if diff := cmp.Diff([]string{"e", "f"}, got); diff != "" {
		t.Error(diff)
	}
}
