package modelfiles

import (
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
)

// TestEvict_oneModel: exactly that one goes, as the dry run said, and asking twice is harmless.
func TestEvict_oneModel(t *testing.T) {
	s, models := filled(t, repos(t, 3, 200_000), 3)
	s.SetStopped([]api.ModelSpec{named("org/m2").Spec})
	ask := func(req api.CacheEvict) api.CachePruned {
		t.Helper()
		out, err := s.Evict(t.Context(), req)
		if err != nil || len(out.Problems) > 0 || len(out.Kept) > 0 {
			t.Fatalf("%+v: %+v, %v", req, out, err)
		}
		return out
	}
	before := tree(t, s.cfg.CacheDir)
	dry := ask(api.CacheEvict{ModelName: "org/m2", DryRun: true})
	if tree(t, s.cfg.CacheDir) != before || dry.FreedBytes < 200_000 || len(dry.Removed) != 1 || dry.Removed[0].ModelName != "org/m2" {
		t.Fatalf("dry run: %+v", dry)
	}
	if out := ask(api.CacheEvict{ModelName: "org/m2", CachePath: "/elsewhere"}); len(out.Removed) > 0 {
		t.Errorf("from another folder: %+v", out)
	}
	if out := ask(api.CacheEvict{ModelName: "org/m"}); len(out.Removed) > 0 {
		t.Errorf("of another name: %+v", out)
	}
	d, _, _ := cache.At(models[2].Path)
	if out := ask(api.CacheEvict{ModelName: "org/m2", CachePath: d.Path()}); out.FreedBytes != dry.FreedBytes || here(models[2]) || !here(models[0]) || !here(models[1]) {
		t.Errorf("left: %v %v %v; %+v", here(models[0]), here(models[1]), here(models[2]), out)
	}
	if out := ask(api.CacheEvict{ModelName: "org/m2"}); out.FreedBytes > 0 || len(out.Removed) > 0 {
		t.Errorf("a second time: %+v", out)
	}
	if _, err := s.Fetch(t.Context(), named("org/m2"), nil); err != nil {
		t.Errorf("it cannot be fetched again: %v", err)
	}
}

// TestEvict_refuses: what is pinned, wanted or in use stays whole, and the answer says why; so do files of which nobody knows what they are for.
func TestEvict_refuses(t *testing.T) {
	s, models := filled(t, repos(t, 1, 1000), 1)
	spec := []api.ModelSpec{named("org/m0").Spec}
	for why, c := range map[string]struct{ set, lift func() }{
		"pinned":      {func() { s.SetPins(spec) }, func() { s.SetPins(nil) }},
		"wanted here": {func() { s.SetWanted(spec) }, func() { s.SetWanted(nil) }},
	} {
		c.set()
		for _, dry := range []bool{true, false} {
			_, err := s.Evict(t.Context(), api.CacheEvict{ModelName: "org/m0", DryRun: dry})
			if !api.HasCode(err, api.CodeConflict) || !strings.Contains(err.Error(), why) || !here(models[0]) {
				t.Errorf("%s, dry run %v: %v, here %v", why, dry, err, here(models[0]))
			}
		}
		c.lift()
	}
	if _, err := again(t, s).Evict(t.Context(), api.CacheEvict{ModelName: "org/m0"}); !api.HasCode(err, api.CodeUnavailable) {
		t.Errorf("before the wishes are known: %v", err)
	}
	for _, req := range []api.CacheEvict{{}, {ModelName: strings.Repeat("x", 2000)}, {ModelName: "a", CachePath: strings.Repeat("/", 5000)}} {
		if _, err := s.Evict(t.Context(), req); !api.HasCode(err, api.CodeInvalidRequest) {
			t.Errorf("%.40q: %v", req.ModelName, err)
		}
	}
	if !here(models[0]) {
		t.Error("the files are gone")
	}
}
