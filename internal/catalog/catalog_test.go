package catalog

import (
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// TestBuiltin_isWhatItSays holds the data file: nothing is missing, nothing is there twice, and everything can be deployed.
func TestBuiltin_isWhatItSays(t *testing.T) {
	models, err := read(data)
	if err != nil {
		t.Fatal(err)
	}
	ids, repos, categories := map[string]bool{}, map[string]bool{}, map[api.TemplateCategory]int{}
	for _, m := range models {
		if !api.ValidUID(m.ID) || ids[m.ID] {
			t.Errorf("%q is no legal id, or there twice", m.ID)
		}
		if what := m.Repo + strings.Join(m.Files, " "); repos[what] {
			t.Errorf("%s: %s is there twice", m.ID, what)
		} else {
			repos[what] = true
		}
		ids[m.ID] = true
		categories[m.Category]++
		for _, fault := range m.faults() {
			t.Errorf("%s: %s", m.ID, fault)
		}
		tpl := m.template()
		if err := tpl.Validate(); err != nil {
			t.Errorf("%s: %v", m.ID, err)
		}
		spec := tpl.Spec()
		spec.ModelUID = api.DeriveUID(spec.ModelName)
		if err := spec.Validate(); err != nil || !api.ValidUID(spec.ModelUID) {
			t.Errorf("%s: the model that it deploys to: %q, %v", m.ID, spec.ModelUID, err)
		}
	}
	if len(models) < 36 || len(models) != len(Builtin()) {
		t.Errorf("%d templates are in the file, and %d built in", len(models), len(Builtin()))
	}
	for _, c := range api.TemplateCategories() {
		if categories[c] < 5 {
			t.Errorf("only %d templates of category %s", categories[c], c)
		}
	}
}

// faults names what is wrong with an entry.
func (m *model) faults() (out []string) {
	for what, ok := range map[string]bool{
		"no name, or one that is too long for a list":       m.Name != "" && len(m.Name) <= 48,
		"no sentence that describes it":                     len(m.Description) > 20 && strings.HasSuffix(m.Description, "."),
		"no repository OWNER/NAME":                          strings.Count(m.Repo, "/") == 1 && strings.Count(m.Card+"/", "/") <= 2,
		"no licence":                                        regexp.MustCompile(`^(Apache-2\.0|MIT|Gemma Terms of Use|(MIT AND )?Llama 3\.\d Community License)$`).MatchString(m.Licence),
		"no context that is longer than the configured one": m.Config != nil && m.Config.MaxModelLen != nil && *m.Config.MaxModelLen <= m.Context,
		"an unknown category":                               slices.Contains(api.TemplateCategories(), m.Category),
		"keys and values by half":                           (m.Need.Layers > 0) == (m.Need.KVHeads > 0) && (m.Need.Layers > 0) == (m.Need.HeadDim > 0),
	} {
		if !ok {
			out = append(out, what)
		}
	}
	return append(out, m.misfits()...)
}

// misfits holds that the engine can run what is in the repository: llama.cpp reads GGUF files, of which one is chosen, and vLLM reads the rest.
func (m *model) misfits() (out []string) {
	gguf := strings.Contains(strings.ToLower(m.Repo), "gguf")
	switch m.Engine {
	case api.EngineLlamaCPP:
		if !gguf || len(m.Files) != 1 || m.Card == "" || !strings.HasSuffix(m.ID, "-gguf") {
			out = append(out, "llama.cpp needs a GGUF repository, one choice of files, the card of the model, and an id that says so")
		}
		if len(m.Files) == 1 && !strings.Contains(strings.ToLower(m.Files[0]), strings.ToLower(m.Need.Weights)) {
			out = append(out, "the files are not in the format that the need is worked out for")
		}
		if m.Config.RequiredVRAMMB != nil || m.Config.TensorParallelSize != nil || m.Config.GPUMemoryUtilization != nil {
			out = append(out, "it must run without a GPU, too")
		}
	case api.EngineVLLM:
		if gguf || len(m.Files) != 0 || m.Config.RequiredVRAMMB == nil {
			out = append(out, "vLLM needs weights that are no GGUF, all files, and required_vram_mb")
			break
		}
		gpus := uint64(1)
		if tp := m.Config.TensorParallelSize; tp != nil {
			gpus = uint64(*tp)
		}
		if off(float64(*m.Config.RequiredVRAMMB*gpus), float64(m.MemoryMiB)) > 0.05 {
			out = append(out, "required_vram_mb is not the memory of one GPU")
		}
	default:
		out = append(out, "an engine that is none of ours")
	}
	return out
}

// off is how far a is from b, as a part of b.
func off(a, b float64) float64 { return math.Abs(a-b) / b }

// TestBuiltin_needsWhatTheFormulaSays works the memory out again, and holds the formula to what is known of files and caches.
func TestBuiltin_needsWhatTheFormulaSays(t *testing.T) {
	models, err := read(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range models {
		want, err := m.memory()
		if err != nil {
			t.Errorf("%s: %v", m.ID, err)
			continue
		}
		if got := m.MemoryMiB * mib; off(float64(got), float64(want)) > 0.05 || got < want {
			t.Errorf("%s: memory_mib %d, by the formula %d", m.ID, m.MemoryMiB, want/mib)
		}
	}
	eightB := model{Engine: api.EngineVLLM, Context: 8192, Need: Need{Parameters: "8.03B", Weights: "BF16", Layers: 32, KVHeads: 8, HeadDim: 128}}
	for what, c := range map[string]struct {
		change func(*model)
		gib    float64
	}{
		"16 GB of weights, 1 GiB of cache":   {func(*model) {}, 14.96 + 1 + 2},
		"four slots, a file of 4.9 GB":       {func(m *model) { m.Engine, m.Need.Weights = api.EngineLlamaCPP, "Q4_K_M" }, 4.56 + 4 + 1},
		"two GPUs":                           {func(m *model) { n := uint32(2); m.Config = &api.ModelConfig{TensorParallelSize: &n} }, 14.96 + 1 + 4},
		"an encoder keeps nothing":           {func(m *model) { m.Need.Layers = 0 }, 14.96 + 2},
		"a projector":                        {func(m *model) { m.Need.ProjectorMiB = 1024 }, 14.96 + 1 + 2 + 1},
		"half the context is half the cache": {func(m *model) { n := uint32(4096); m.Config = &api.ModelConfig{MaxModelLen: &n} }, 14.96 + 0.5 + 2},
	} {
		m := eightB
		c.change(&m)
		if got, err := m.memory(); err != nil || off(float64(got)/(1<<30), c.gib) > 0.01 {
			t.Errorf("%s: %.2f GiB, want %.2f (%v)", what, float64(got)/(1<<30), c.gib, err)
		}
	}
}

// TestRead_refuses holds that a mistake in the file is found.
func TestRead_refuses(t *testing.T) {
	for what, text := range map[string]string{
		"no YAML":          "templates: [",
		"an unknown field": "templates: [{id: x, colour: red}]",
		"another type":     "templates: [{id: x, context: long}]",
		"a field twice":    "templates: [{id: x, id: y}]",
	} {
		if _, err := read([]byte(text)); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	for _, p := range []string{"", "7", "B", "-1B", "0M", "sevenB", "7T", "7b"} {
		if n, err := (&Need{Parameters: p}).count(); err == nil {
			t.Errorf("parameters %q are %d", p, n)
		}
	}
	if _, err := (&model{Need: Need{Parameters: "1B", Weights: "IQ1"}}).memory(); err == nil {
		t.Error("an unknown format has a size")
	}
}

func state(stored ...api.ModelTemplate) *cluster.State {
	s := &cluster.State{}
	edit := s.Templates.Edit()
	for i, t := range stored {
		edit.Put(cluster.Entry[api.ModelTemplate]{ID: t.TemplateID, Rev: int64(i + 1), Value: t})
	}
	s.Templates = edit.Done()
	return s
}

// TestList_mixesBothInOrder: what is stored stands between what is built in, and before it where the id is the same.
func TestList_mixesBothInOrder(t *testing.T) {
	mine := api.ModelTemplate{TemplateID: "qwen3-8b", Name: "Mine", Source: api.TemplateUser, Category: api.CategoryVLM}
	s := state(api.ModelTemplate{TemplateID: "A-first", Source: api.TemplateSaved}, mine, api.ModelTemplate{TemplateID: "zz-last", Source: api.TemplateUser})
	all := List(s, Filter{})
	if len(all) != len(Builtin())+2 {
		t.Fatalf("%d templates", len(all))
	}
	if !slices.IsSortedFunc(all, func(a, b api.ModelTemplate) int { return strings.Compare(a.TemplateID, b.TemplateID) }) {
		t.Error("they are not in order of id")
	}
	if got, rev, err := Find(s, "qwen3-8b"); err != nil || rev != 2 || got.Name != "Mine" {
		t.Errorf("%+v at %d, %v", got, rev, err)
	}
	for _, f := range []Filter{{Category: api.CategoryVLM}, {Source: api.TemplateUser}, {Category: api.CategoryVLM, Source: api.TemplateUser}} {
		got := List(s, f)
		want := slices.DeleteFunc(slices.Clone(all), func(t api.ModelTemplate) bool {
			return f.Category != "" && t.Category != f.Category || f.Source != "" && t.Source != f.Source
		})
		if d := cmp.Diff(want, got); d != "" || len(got) == 0 {
			t.Errorf("%+v: %s", f, d)
		}
	}
}

func TestFind_unreadable(t *testing.T) {
	s := state()
	edit := s.Bad.Edit()
	edit.Put(cluster.Entry[cluster.BadValue]{ID: "/templates/qwen3-8b", Rev: 3, Value: cluster.BadValue{Key: "/templates/qwen3-8b", Err: "not JSON"}})
	s.Bad = edit.Done()
	if _, _, err := Find(s, "qwen3-8b"); !api.HasCode(err, api.CodeConflict) {
		t.Errorf("%v: what cannot be read is neither absent nor the built-in one", err)
	}
	list := List(s, Filter{})
	if slices.ContainsFunc(list, func(t api.ModelTemplate) bool { return t.TemplateID == "qwen3-8b" }) {
		t.Error("the built-in one stands in for one that cannot be read")
	}
	if _, _, err := Find(s, "none"); !api.HasCode(err, api.CodeNotFound) {
		t.Errorf("%v", err)
	}
}

// Whoever gets a built-in template may do with it what he likes.
func TestBuiltin_isCopied(t *testing.T) {
	first, _ := Get("qwen3-8b")
	*first.Config.MaxModelLen = 1
	first.Name = "changed"
	if again, _ := Get("qwen3-8b"); again.Name == "changed" || *again.Config.MaxModelLen == 1 {
		t.Error("a built-in template was changed")
	}
}
