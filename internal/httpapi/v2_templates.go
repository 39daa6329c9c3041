package httpapi

import (
	"mime"
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
	replace := Param{Name: "replace", Summary: "take the place of a stored template with the same id", Type: "boolean"}
	return []Route{
		{
			Method: "GET", Path: templates, Role: auth.Viewer, Summary: "List templates, the built-in ones among them", Has: Pages | Watches,
			Query: []Param{
				searchParam("the id, the name, the description or the name of the model"),
				{Name: "category", Summary: "only those of this category", Type: "string", Enum: texts(api.TemplateCategories())},
				{Name: "source", Summary: "only those from there: built in, written by people, or saved from a model", Type: "string", Enum: texts(api.TemplateSources())},
			},
			Sort: sortFields(templateOrders()), Response: []api.ModelTemplate{}, Handle: s.listTemplates,
		},
		{
			Method: "POST", Path: templates, Role: auth.Operator, Summary: "Write a template", Has: Creates | DryRuns, Query: []Param{replace},
			Request: api.CreateTemplate{}, Response: api.ModelTemplate{}, Status: http.StatusCreated,
			Errors: []api.Code{api.CodeTemplateExists}, Handle: s.createTemplate,
		},
		{
			Method: "GET", Path: template, Role: auth.Viewer, Summary: "One template, with an ETag when it can be changed",
			Response: api.ModelTemplate{}, Errors: []api.Code{api.CodeNotFound, api.CodeConflict}, Handle: s.getTemplate,
		},
		{
			Method: "PUT", Path: template, Role: auth.Operator, Summary: "Change a template; a built-in one cannot be changed", Has: Conditional | DryRuns,
			Request: api.UpdateTemplate{}, Response: api.ModelTemplate{}, Errors: []api.Code{api.CodeNotFound, api.CodeConflict}, Handle: s.updateTemplate,
		},
		{
			Method: "DELETE", Path: template, Role: auth.Operator, Summary: "Forget a template; models that were made of it stay", Has: Conditional | DryRuns,
			Response: api.TemplateDeleted{}, Errors: []api.Code{api.CodeNotFound, api.CodeConflict}, Handle: s.deleteTemplate,
		},
		{
			Method: "POST", Path: template + "/deploy", Role: auth.Operator, Summary: "Declare a model as a template says, and start it",
			Has:     Creates | DryRuns | OptionalBody,
			Request: api.DeployTemplate{}, Response: api.ModelCreated{}, Status: http.StatusCreated,
			Errors: []api.Code{api.CodeNotFound, api.CodeConflict, api.CodeModelExists, api.CodeInvalidUID}, Handle: s.deployTemplate,
		},
		{
			Method: "POST", Path: "/api/v2/models/{uid}/save-as-template", Role: auth.Operator, Has: Creates | DryRuns, Query: []Param{replace},
			Summary: "Make a template of a model, with the configuration that it runs with",
			Request: api.SaveTemplate{}, Response: api.ModelTemplate{}, Status: http.StatusCreated,
			Errors: []api.Code{api.CodeNotFound, api.CodeConflict, api.CodeTemplateExists}, Handle: s.saveTemplate,
		},
		{
			Method: "PATCH", Path: "/api/v2/models/{uid}", Role: auth.Operator, Has: Conditional | DryRuns,
			Summary: "Change single fields of a model by a JSON merge patch (RFC 7396): null clears a field",
			Request: api.PatchModel{}, Response: api.ModelWritten{}, Errors: []api.Code{api.CodeNotFound, api.CodeConflict}, Handle: s.patchModel,
		},
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
	text, err := searchOf(r)
	if err != nil {
		return err
	}
	list := func(st *cluster.State) []api.ModelTemplate {
		list := filtered(catalog.List(st, catalog.Filter{Category: category, Source: source}), func(t *api.ModelTemplate) bool {
			return holds(text, t.TemplateID, t.Name, t.Description, t.ModelName)
		})
		for i := range list {
			list[i].ID = list[i].TemplateID
		}
		return list
	}
	return listOrWatch(s, w, r, "templates", list, func(t *api.ModelTemplate) string { return t.TemplateID }, templateOrders()...)
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

func (s *server) createTemplate(w http.ResponseWriter, r *http.Request) error {
	var req api.CreateTemplate
	if err := decode(r, &req, false); err != nil {
		return err
	}
	t, err := s.Control.CreateTemplate(r.Context(), req, queryBool(r, "replace"))
	if err != nil {
		return err
	}
	s.madeTemplate(w, t)
	return nil
}

func (s *server) saveTemplate(w http.ResponseWriter, r *http.Request) error {
	var req api.SaveTemplate
	if err := decode(r, &req, false); err != nil {
		return err
	}
	t, err := s.Control.SaveTemplate(r.Context(), r.PathValue("uid"), req, queryBool(r, "replace"))
	if err != nil {
		return err
	}
	s.madeTemplate(w, t)
	return nil
}

func (s *server) madeTemplate(w http.ResponseWriter, t api.ModelTemplate) {
	w.Header().Set("Location", "/api/v2/templates/"+t.TemplateID)
	s.setTemplateETag(w, t.TemplateID)
	writeTemplate(w, http.StatusCreated, t)
}

// setTemplateETag sends the revision of a stored template as it is now.
func (s *server) setTemplateETag(w http.ResponseWriter, id string) {
	st, _ := s.View.Current()
	if e, ok := st.Templates.Get(id); ok {
		w.Header().Set("ETag", etag(e.Rev))
	}
}

func (s *server) updateTemplate(w http.ResponseWriter, r *http.Request) error {
	rev, err := ifMatch(r)
	if err != nil {
		return err
	}
	var req api.UpdateTemplate
	if err := decode(r, &req, false); err != nil {
		return err
	}
	t, err := s.Control.UpdateTemplate(r.Context(), r.PathValue("id"), req, rev)
	if err != nil {
		return err
	}
	s.setTemplateETag(w, t.TemplateID)
	writeTemplate(w, http.StatusOK, t)
	return nil
}

func (s *server) deleteTemplate(w http.ResponseWriter, r *http.Request) error {
	rev, err := ifMatch(r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	if err := s.Control.DeleteTemplate(r.Context(), id, rev); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.TemplateDeleted{TemplateID: id, Status: "deleted"})
	return nil
}

func (s *server) deployTemplate(w http.ResponseWriter, r *http.Request) error {
	var req api.DeployTemplate
	if err := decode(r, &req, true); err != nil {
		return err
	}
	made, err := s.Control.DeployTemplate(r.Context(), r.PathValue("id"), req)
	if err != nil {
		return err
	}
	made.Explanation = s.foretell(r, made.Spec.ModelUID)
	s.setETag(w, made.Spec.ModelUID)
	w.Header().Set("Location", "/api/v2/models/"+made.Spec.ModelUID)
	writeJSON(w, http.StatusCreated, made)
	return nil
}

// patchModel takes a JSON merge patch under its own media type, or under the plain one.
func (s *server) patchModel(w http.ResponseWriter, r *http.Request) error {
	if given := r.Header.Get("Content-Type"); given != "" {
		if kind, _, err := mime.ParseMediaType(given); err != nil || kind != mergePatch && kind != "application/json" {
			w.Header().Set("Accept-Patch", mergePatch)
			return api.Errorf(api.CodeUnsupportedMedia, "the body must be a JSON merge patch, %s, not %.80q", mergePatch, given)
		}
	}
	return change(s, w, r, false, s.Control.PatchModel, modelWritten)
}

// mergePatch is the media type of RFC 7396.
const mergePatch = "application/merge-patch+json"
