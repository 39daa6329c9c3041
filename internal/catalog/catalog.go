// Package catalog has the templates that are built into Nebula, and shows them and those that people wrote as one list.
//
// The built-in ones are the data file templates.yaml: open models with an engine and a configuration that fits them, their licence, and the memory
// that one replica needs, worked out by the formula of [Need]. They are read-only and need no store. A template that is stored under the id of a
// built-in one takes its place: a new version of Nebula, which may bring more templates, never hides what people wrote.
package catalog

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

//go:embed templates.yaml
var data []byte

// builtin is the data file as templates, by id. It is read once, when it is first asked for; a test holds that it can be.
var builtin = sync.OnceValue(func() map[string]api.ModelTemplate {
	out := map[string]api.ModelTemplate{}
	models, err := read(data)
	if err != nil {
		panic(err) // the file is part of the program
	}
	for _, m := range models {
		out[m.ID] = m.template()
	}
	return out
})

func read(b []byte) ([]model, error) {
	var file struct {
		Templates []model `json:"templates"`
	}
	if err := yaml.UnmarshalStrict(b, &file); err != nil {
		return nil, fmt.Errorf("read the built-in templates: %w", err)
	}
	return file.Templates, nil
}

// Builtin returns the built-in templates in order of id.
func Builtin() []api.ModelTemplate {
	var out []api.ModelTemplate
	for _, id := range slices.Sorted(maps.Keys(builtin())) {
		out = append(out, builtin()[id].Clone())
	}
	return out
}

// IsBuiltin tells whether a template of that id is built into Nebula.
func IsBuiltin(id string) bool {
	_, ok := builtin()[id]
	return ok
}

// Get returns the built-in template with that id.
func Get(id string) (api.ModelTemplate, bool) {
	t, ok := builtin()[id]
	return t.Clone(), ok
}

// Find returns the template with that id, stored or built in, and its revision in the store, which is 0 for a built-in one. A stored one that cannot
// be read is an *api.Error, and so is none at all.
func Find(s *cluster.State, id string) (api.ModelTemplate, int64, error) {
	if bad, ok := s.Bad.Get(key(id)); ok {
		return api.ModelTemplate{}, 0, api.Errorf(api.CodeConflict,
			"the stored template %q cannot be read (%s): delete it and create it again", id, bad.Value.Err)
	}
	if e, ok := s.Templates.Get(id); ok {
		return e.Value, e.Rev, nil
	}
	if t, ok := Get(id); ok {
		return t, 0, nil
	}
	return api.ModelTemplate{}, 0, NotFound(id)
}

// NotFound is the error for a template that is not there.
func NotFound(id string) error {
	return api.Errorf(api.CodeNotFound, "there is no template with the id %.80q; list them with: nebula template list", id)
}

func key(id string) string { return "/templates/" + id }

// Filter narrows a list of templates. The zero Filter lets every one through.
type Filter struct {
	Category api.TemplateCategory // empty = any
	Source   api.TemplateSource   // empty = any
}

// List returns the templates that pass the filter in order of id: the stored ones, with the built-in ones between them. Stored ones that cannot be read
// are left out.
func List(s *cluster.State, f Filter) []api.ModelTemplate {
	all := slices.DeleteFunc(Builtin(), func(t api.ModelTemplate) bool {
		return s.Templates.Has(t.TemplateID) || s.Bad.Has(key(t.TemplateID))
	})
	for e := range s.Templates.All() {
		all = append(all, e.Value)
	}
	all = slices.DeleteFunc(all, func(t api.ModelTemplate) bool {
		return f.Category != "" && t.Category != f.Category || f.Source != "" && t.Source != f.Source
	})
	slices.SortFunc(all, func(a, b api.ModelTemplate) int { return cmp.Compare(a.TemplateID, b.TemplateID) })
	return all
}

// homepage is where the card of a model is.
func homepage(repo string) string { return "https://huggingface.co/" + strings.TrimSpace(repo) }
