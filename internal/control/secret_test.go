package control_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/secret"
	"github.com/nebula-serve/nebula/internal/store"
)

const planted = "hf_canary0123456789"

// keeper is a Control that takes secrets; its clock moves a millisecond with every look.
type keeper struct {
	*world
	key secret.Key
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	key, err := secret.NewKey([]byte(strings.Repeat("k", secret.KeyBytes)))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	var ms atomic.Int64
	ms.Store(999)
	w.Control = control.New(w.st, func() time.Time { return time.UnixMilli(ms.Add(1)) }).WithSecrets(key)
	return &keeper{w, key}
}

func (k *keeper) set(name string, value api.Token) api.SecretView {
	k.t.Helper()
	v, err := k.PutSecret(ann(k.t), name, api.PutSecret{Value: value})
	if err != nil {
		k.t.Fatal(err)
	}
	return v
}

func (k *keeper) stored(name string) api.Secret {
	s, _ := k.st.Current()
	v, _ := s.Secrets.Value(name)
	return v
}

func TestPutSecret_keepsItSealed(t *testing.T) {
	k := newKeeper(t)
	v := k.set("hf", planted)
	if v.Name != "hf" || v.CreatedBy != "ann" || v.CreatedAtMS != 1000 || v.UpdatedAtMS != 1000 {
		t.Errorf("answer %+v", v)
	}
	first := k.stored("hf")
	if got, err := k.key.Open("hf", first.Version, first.Sealed); err != nil || got != planted {
		t.Errorf("opened %q, %v", string(got), err)
	}
	// The same value once more is another version, sealed anew.
	k.set("hf", planted)
	second := k.stored("hf")
	if second.Version <= first.Version || second.CreatedAtMS != first.CreatedAtMS {
		t.Errorf("from %d to %d", first.Version, second.Version)
	}
	if _, err := k.key.Open("hf", second.Version, first.Sealed); err == nil {
		t.Error("the old value opens as the new version")
	}
	for _, where := range []string{"/", ""} {
		all, _, err := k.kv.List(ann(t), where)
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range all {
			if strings.Contains(string(kv.Value)+kv.Key, planted) {
				t.Errorf("%s has it in clear", kv.Key)
			}
		}
	}
	s, _ := k.st.Current()
	for name, doc := range map[string]any{"answer": v, "list": cluster.SecretViews(s)} {
		if b, err := json.Marshal(doc); err != nil || strings.Contains(string(b), planted) || strings.Contains(string(b), "ciphertext") {
			t.Errorf("%s: %s, %v", name, b, err)
		}
	}
}

func TestPutSecret_refusesWhatIsNone(t *testing.T) {
	k := newKeeper(t)
	for name, value := range map[string]api.Token{"../x": planted, "a": "", "b": "two\nlines", "c": api.Token(strings.Repeat("x", 5000))} {
		if _, err := k.PutSecret(ann(t), name, api.PutSecret{Value: value}); !api.HasCode(err, api.CodeInvalidRequest) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := control.New(k.st, time.Now).PutSecret(ann(t), "a", api.PutSecret{Value: planted}); !api.HasCode(err, api.CodeUnavailable) {
		t.Errorf("without a key: %v", err)
	}
	if s, _ := k.st.Current(); s.Secrets.Len() != 0 {
		t.Errorf("%d secrets stored", s.Secrets.Len())
	}
}

func TestSecret_ofAModel(t *testing.T) {
	k := newKeeper(t)
	_, err := k.CreateModel(ann(t), api.CreateModel{ModelName: "acme/m", ModelUID: "m", TokenSecret: "hf"})
	if !api.HasCode(err, api.CodeInvalidRequest) || !strings.Contains(err.Error(), "nebula secret set hf") {
		t.Errorf("a model with an unknown secret: %v", err)
	}
	k.set("hf", planted)
	k.set("other", planted)
	k.create(api.CreateModel{ModelName: "acme/m", ModelUID: "m", TokenSecret: "hf"})
	k.create(api.CreateModel{ModelName: "acme/n", ModelUID: "n", TokenSecret: "hf"})
	s, _ := k.st.Current()
	if v := cluster.SecretViews(s); len(v) != 2 || !slices.Equal(v[0].UsedBy, []string{"m", "n"}) || len(v[1].UsedBy) != 0 {
		t.Errorf("views %+v", v)
	}
	if err := k.DeleteSecret(ann(t), "hf", false); !api.HasCode(err, api.CodeConflict) || !strings.Contains(err.Error(), "m, n: give those models") {
		t.Errorf("one that is used: %v", err)
	}
	update := func(uid, name string) error {
		_, err := k.UpdateModel(ann(t), uid, api.UpdateModel{TokenSecret: &name}, 0)
		return err
	}
	if err := update("m", "none"); !api.HasCode(err, api.CodeInvalidRequest) {
		t.Errorf("change to one that is not there: %v", err)
	}
	if err := update("m", ""); err != nil {
		t.Error(err)
	}
	if err := update("n", "other"); err != nil {
		t.Error(err)
	}
	if err := k.DeleteSecret(ann(t), "hf", false); err != nil {
		t.Errorf("one that nobody uses any more: %v", err)
	}
	was := k.stored("other").Version
	if err := k.DeleteSecret(ann(t), "other", true); err != nil {
		t.Errorf("with force: %v", err)
	}
	// The model that lost its secret can be changed all the same.
	if _, err := k.UpdateModel(ann(t), "n", api.UpdateModel{Labels: map[string]string{"a": "b"}}, 0); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"hf", "none", "../x", ""} {
		if err := k.DeleteSecret(ann(t), name, true); !api.HasCode(err, api.CodeNotFound) {
			t.Errorf("delete %q: %v", name, err)
		}
	}
	// Set again after a deletion, it is another version than ever before: who failed with it is tried again.
	k.set("other", planted)
	if is := k.stored("other").Version; is <= was {
		t.Errorf("from %d to %d", was, is)
	}
}

// TestSecret_goneWhileAModelIsMade: a model with a secret and the deletion of that secret never both happen.
func TestSecret_goneWhileAModelIsMade(t *testing.T) {
	k := newKeeper(t)
	for i := range 50 {
		uid := fmt.Sprintf("m%d", i)
		k.set("hf", planted)
		errs := together(2, func(n int) error {
			if n == 0 {
				_, err := k.CreateModel(ann(t), api.CreateModel{ModelName: "acme/m", ModelUID: uid, TokenSecret: "hf"})
				return err
			}
			return k.DeleteSecret(ann(t), "hf", false)
		})
		if made, gone := errs[0] == nil, errs[1] == nil; made == gone {
			t.Fatalf("round %d: %v", i, errs)
		}
		if errs[0] == nil {
			if err := k.DeleteModel(ann(t), uid, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestDeleteSecret_thatCannotBeRead(t *testing.T) {
	k := newKeeper(t)
	k.corrupt("/secrets/hf")
	if _, err := k.PutSecret(ann(t), "hf", api.PutSecret{Value: planted}); !api.HasCode(err, api.CodeConflict) {
		t.Errorf("set over it: %v", err)
	}
	if err := k.DeleteSecret(ann(t), "hf", false); err != nil {
		t.Fatal(err)
	}
	k.set("hf", planted)
}

// TestSecrets_leaveNoServer: gateways are fed from these prefixes, and machines keep snapshots of them.
func TestSecrets_leaveNoServer(t *testing.T) {
	own, _ := store.Secrets.Key("hf")
	for _, p := range store.RoutingPrefixes() {
		if strings.HasPrefix(own, p) {
			t.Errorf("secrets are fed to gateways under %s", p)
		}
	}
}
