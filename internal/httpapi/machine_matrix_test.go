package httpapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/pki"
)

// guarded are the rows that need a credential, as calls.
func (f *fleet) guarded() [][2]string {
	var out [][2]string
	for _, r := range httpapi.Routes(f.cfg) {
		if r.Role != auth.Public {
			out = append(out, [2]string{r.Method, strings.NewReplacer("{uid}", "m", "{id}", "me", "{token}", "aaaaaaaaaaaa", "{role}", "node").Replace(r.Path)})
		}
	}
	if len(out) < 60 {
		f.t.Fatalf("%d rows: some are missing", len(out))
	}
	return out
}

// TestJoinToken_opensNothingElse: a join token, before and after its use, is no credential for any row, in neither header.
func TestJoinToken_opensNothingElse(t *testing.T) {
	f := newFleet(t)
	good, used := f.token(api.MachineNode), f.token(api.MachineNode)
	csr, _ := f.request()
	body, err := json.Marshal(api.JoinRequest{Token: used, Role: api.MachineNode, ID: "n1", CSR: csr})
	if err != nil {
		t.Fatal(err)
	}
	if res, text := f.do(f.client(nil), "POST", "/api/v2/join", body); res.StatusCode != 200 {
		t.Fatalf("join: %d %s", res.StatusCode, text)
	}
	for _, call := range f.guarded() {
		for kind, header := range map[string][]string{
			"a valid join token": {"Authorization", "Bearer " + good}, "a used join token": {"Authorization", "Bearer " + used},
			"a valid join token in x-api-key": {"Authorization", "", "X-Api-Key", good},
		} {
			if res, text := f.call(call[0], call[1], "", header...); res.StatusCode != 401 || strings.Contains(text, good) || strings.Contains(text, used) {
				t.Errorf("%s %s by %s: %d %s, want 401", call[0], call[1], kind, res.StatusCode, text)
			}
		}
	}
}

// TestServersCertificate_triesEverything: a server is a machine like others. Its certificate renews itself; it is neither a node, a gateway nor a person.
func TestServersCertificate_triesEverything(t *testing.T) {
	f := newFleet(t)
	st, _ := f.st.Current()
	info, _ := st.Info.Value(api.ClusterInfoID)
	cred := f.issue(pki.Identity{Cluster: info.ID, Role: api.MachineServer, ID: "me"})
	if err := f.cfg.Control.RegisterLocal(t.Context(), api.Member{Role: api.MachineServer, ID: "me", Addr: "me:8443", KeyHash: cred.KeyHash()}); err != nil {
		t.Fatal(err)
	}
	c, stranger := f.client(cred), f.client(f.issue(pki.Identity{Cluster: info.ID, Role: api.MachineServer, ID: "stranger"}))
	before, _ := f.st.Current()
	var may []string
	for _, call := range f.guarded() {
		if res, _ := f.do(c, call[0], call[1], nil); res.StatusCode != 401 && res.StatusCode != 403 {
			may = append(may, call[0]+" "+call[1])
		}
		if res, text := f.do(stranger, call[0], call[1], nil); res.StatusCode != 401 {
			t.Errorf("%s %s by the certificate of no member: %d %s", call[0], call[1], res.StatusCode, text)
		}
	}
	if diff := cmp.Diff([]string{"POST /api/v2/renew"}, may); diff != "" {
		t.Errorf("a server may call (-want +got):\n%s", diff)
	}
	if after, _ := f.st.Current(); after.Revision != before.Revision {
		t.Error("a server that tried everything without a body changed the store")
	}
}
