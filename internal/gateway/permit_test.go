package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// permitted is a table of three models, two of one name.
func permitted(t *testing.T) *table {
	t.Helper()
	s := &cluster.State{}
	models := s.Models.Edit()
	for uid, name := range map[string]string{"a": "acme/one", "b": "acme/one", "c": "acme/two"} {
		models.Put(cluster.Entry[api.ModelSpec]{ID: uid, Value: api.ModelSpec{ModelUID: uid, ModelName: name}})
	}
	s.Models = models.Done()
	return buildTable(s, "n1")
}

func TestPermit_find(t *testing.T) {
	only := func(uids string) permit { return func(uid string) bool { return strings.Contains(uids, uid) } }
	for _, c := range []struct {
		may        permit
		name, want string // "" = not found
	}{
		{nil, "a", "a"},
		{nil, "acme/two", "c"},
		{nil, "acme/one", ""},
		{only("a"), "a", "a"},
		{only("a"), "b", ""},
		{only("a"), "acme/two", ""},
		{only("a"), "A", ""},
		{only("a"), "acme/one", "a"}, // the other one of that name is not there for this caller
		{only("ab"), "acme/one", ""},
		{only(""), "a", ""},
		{only("c"), "acme/two", "c"},
	} {
		m, f := permitted(t).find(c.name, c.may)
		if (m != nil) != (c.want != "") || m != nil && m.uid != c.want || (f == nil) != (m != nil) {
			t.Errorf("%s: %v, %v; want %q", c.name, m, f, c.want)
		}
	}
}

// TestPermit_deniedIsUnknown: what a caller may not use is answered to the letter like what does not exist, and nothing names it.
func TestPermit_deniedIsUnknown(t *testing.T) {
	may := permit(func(uid string) bool { return uid == "a" })
	say := func(name string) string {
		_, f := permitted(t).find(name, may)
		if f == nil {
			t.Fatalf("%s is found", name)
		}
		w := httptest.NewRecorder()
		f.write(w)
		return w.Result().Status + strings.ReplaceAll(w.Body.String(), `\"`+name+`\"`, "X")
	}
	if denied, unknown := say("c"), say("zz"); denied != unknown || !strings.HasPrefix(denied, "404") || !strings.Contains(denied, codeModelNotFound) {
		t.Errorf("denied: %s\nunknown: %s", denied, unknown)
	}
	if denied, unknown := say("acme/two"), say("acme/six"); denied != unknown {
		t.Errorf("denied: %s\nunknown: %s", denied, unknown)
	}
}

func TestPermit_context(t *testing.T) {
	if allowed(context.Background()) != nil {
		t.Error("a limit out of nothing")
	}
	ctx := WithModels(context.Background(), func(uid string) bool { return uid == "c" })
	g := &Gateway{}
	g.table.Store(permitted(t))
	for _, m := range g.table.Load().models {
		m.ready = []*replica{{}}
	}
	w := httptest.NewRecorder()
	g.listModels(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/models", nil))
	var list struct{ Data []listed }
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list.Data) != 1 || list.Data[0].ID != "c" {
		t.Errorf("%s, %v", w.Body, err)
	}
}
