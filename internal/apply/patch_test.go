package apply_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/apply"
)

// specOf is the spec that a document of a model declares.
func specOf(t *rapid.T, doc json.RawMessage) api.ModelSpec {
	var s api.ModelSpec
	if err := json.Unmarshal(doc, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestModelPatch_makesWhatIsWished: over random changes, the patch applied as the server does gives the wished spec, and names only fields that change.
func TestModelPatch_makesWhatIsWished(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		live := map[apply.Ref]apply.Object{}
		for _, c := range mustPlan(t, randomDocs(t), live, apply.Options{}) {
			live[c.Ref] = apply.Object{Ref: c.Ref, Revision: 7, Doc: c.Wished}
		}
		for _, c := range mustPlan(t, randomDocs(t), live, apply.Options{}) {
			if c.Kind != apply.KindModel || c.Live == nil || c.Wished == nil {
				continue
			}
			patch, err := c.ModelPatch()
			if err != nil {
				t.Fatal(err)
			}
			was, want := specOf(t, c.Live), specOf(t, c.Wished)
			got, err := patch.Apply(was)
			if err != nil {
				t.Fatalf("%v\n%s", err, patch)
			}
			a, _ := json.Marshal(got)
			b, _ := json.Marshal(want)
			if !sameDoc(t, a, b) {
				t.Fatalf("the patch %s makes\n%s of\n%s, want\n%s", patch, a, c.Live, b)
			}
			if len(patch) > 0 && reflect.DeepEqual(was, want) {
				t.Fatalf("a patch of nothing: %s", patch)
			}
		}
	})
}

// sameDoc compares documents; an empty object or list is as good as none.
func sameDoc(t *rapid.T, a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		t.Fatal("no JSON")
	}
	return reflect.DeepEqual(full(x), full(y))
}

func full(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, inner := range v {
			if f := full(inner); f != nil {
				out[k] = f
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	case []any:
		if len(v) == 0 {
			return nil
		}
	}
	return v
}
