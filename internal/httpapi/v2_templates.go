package httpapi

import (
	"net/http"
	"slices"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/catalog"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// templateRoutes are the rows about templates.
func (s *server) templateRoutes() []Route {
	const templates, template = "/api/v2/templates", "/api/v2/templates/{id}"
	return []Route{
		{
			Method: "GET", Path: templates, Role: auth.Viewer, Summary: "List templates, the built-in ones among them", Has: Pages | Watches,
			Query: []Param{
				{Name: "category", Summary: "only those of this category", Type: "string", Enum: texts(api.TemplateCategories())},
				{Name: "source", Summary: "only those from there: built in, written by people, or saved from a model", Type: "string", Enum: texts(api.TemplateSources())},
			},
			Response: []api.ModelTemplate{}, Handle: s.listTemplates,
		},
		{Method: "GET", Path: template, Role: auth.Viewer, Summary: "One template", Response: api.ModelTemplate{}, Handle: s.getTemplate},
	}
}

func texts[E ~string](values []E) (out []string) {
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}

func (s *server) listTemplates(w http.ResponseWriter, r *http.Request) error {
	category, err := queryEnum(r, "category", api.TemplateCategories())
	if err != nil {
		return err
	}
	source, err := queryEnum(r, "source", api.TemplateSources())
	if err != nil {
		return err
	}
	list := func(st *cluster.State) []api.ModelTemplate {
		list := catalog.List(st, catalog.Filter{Category: category, Source: source})
		for i := range list {
			list[i].ID = list[i].TemplateID
		}
		return list
	}
	return listOrWatch(s, w, r, "templates", list, func(t *api.ModelTemplate) string { return t.TemplateID })
}

// queryEnum reads one of some values; empty when it is absent.
func queryEnum[E ~string](r *http.Request, name string, known []E) (E, error) {
	v := E(r.URL.Query().Get(name))
	if v != "" && !slices.Contains(known, v) {
		return "", &api.Error{
			Code: api.CodeInvalidRequest, Message: name + " is unknown: use one of " + api.Spellings(known),
			Details: []api.Field{{Field: name, Reason: "is none of " + api.Spellings(known)}},
		}
	}
	return v, nil
}

func (s *server) getTemplate(w http.ResponseWriter, r *http.Request) error {
	st, _ := s.View.Current()
	t, rev, err := catalog.Find(st, r.PathValue("id"))
	if err != nil {
		return err
	}
	if rev > 0 {
		w.Header().Set("ETag", etag(rev))
	}
	writeTemplate(w, http.StatusOK, t)
	return nil
}

// writeTemplate answers with a template, under both names of its id.
func writeTemplate(w http.ResponseWriter, status int, t api.ModelTemplate) {
	t.ID = t.TemplateID
	writeJSON(w, status, t)
}
