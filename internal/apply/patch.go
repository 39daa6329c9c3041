package apply

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/nebula-serve/nebula/api"
)

// ModelPatch is the merge patch (RFC 7396) that makes of the model's spec what is wished: it names the fields that change, and no other. nil: none do.
func (c *Change) ModelPatch() (api.PatchModel, error) {
	live, wished, err := decodeModels(c.Live, c.Wished)
	if err != nil {
		return nil, err
	}
	before, _ := live.parts()
	after, _ := wished.parts()
	var sides [2]map[string]any
	for i, spec := range []api.ModelSpec{before, after} {
		doc, err := canonical(spec)
		if err != nil {
			return nil, err
		}
		if sides[i], err = object(doc); err != nil {
			return nil, err
		}
	}
	var out api.PatchModel
	for field, value := range patchBetween(sides[0], sides[1]) {
		if out == nil {
			out = api.PatchModel{}
		}
		if out[field], err = json.Marshal(value); err != nil {
			return nil, fmt.Errorf("encode a patch: %w", err)
		}
	}
	return out, nil
}

// patchBetween is the smallest merge patch that makes b of a.
func patchBetween(a, b map[string]any) map[string]any {
	out := map[string]any{}
	for k, was := range a {
		now, there := b[k]
		if !there {
			out[k] = nil
			continue
		}
		x, isObject := was.(map[string]any)
		y, both := now.(map[string]any)
		switch {
		case reflect.DeepEqual(was, now):
		case isObject && both:
			out[k] = patchBetween(x, y)
		default:
			out[k] = now
		}
	}
	for k, now := range b {
		if _, there := a[k]; !there {
			out[k] = now
		}
	}
	return out
}
