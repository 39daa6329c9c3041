package httpapi

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
)

// HubSearch looks for models in a hub, the most downloaded first; its errors are for people.
type HubSearch func(ctx context.Context, source api.ModelSource, words string, limit int) ([]api.HubModel, error)

// Hubs ask the hubs that models come from; nil functions: this process asks none.
type Hubs struct {
	Search HubSearch
	// Files lists a repository at a revision; empty: at the hub's first branch.
	Files func(ctx context.Context, source api.ModelSource, name, revision string) (api.HubFiles, error)
}

// HubNameError is that a hub has no such repository or revision for everybody, or could have none.
type HubNameError struct {
	Missing bool
	Err     error
}

// Error is that of the hub.
func (e *HubNameError) Error() string { return e.Err.Error() }

// Unwrap returns it.
func (e *HubNameError) Unwrap() error { return e.Err }

// HubBusyError is that a hub takes no more requests for a while.
type HubBusyError struct {
	After time.Duration
	Err   error
}

// Error is that of the hub.
func (e *HubBusyError) Error() string { return e.Err.Error() }

// Unwrap returns it.
func (e *HubBusyError) Unwrap() error { return e.Err }

// Limits of a search in a hub.
const (
	searchFound  = 20
	searchMost   = 50
	searchWords  = 200 // bytes
	searchWithin = 15 * time.Second
)

// hubRoutes are the rows about the hubs that models come from.
func (s *server) hubRoutes() []Route {
	from := Param{Name: "source", Type: "string", Summary: "The hub; hugging_face when absent", Enum: []string{string(api.SourceHuggingFace), string(api.SourceModelScope)}}
	return []Route{{
		Method: "GET", Path: "/api/v2/hub/models", Role: auth.Viewer, Summary: "Search a hub for models, the most downloaded first; what the hub does not say is absent",
		Query: []Param{
			{Name: "q", Type: "string", Summary: "What to look for; at most " + strconv.Itoa(searchWords) + " bytes"},
			from,
			{Name: "limit", Type: "integer", Summary: "How many at most, from 1 to " + strconv.Itoa(searchMost) + "; " + strconv.Itoa(searchFound) + " when absent"},
		},
		Response: []api.HubModel{}, Errors: []api.Code{api.CodeUpstream, api.CodeNotImplemented}, Handle: s.searchHub,
	}, {
		Method: "GET", Path: "/api/v2/hub/files", Role: auth.Viewer, Summary: "What a public repository of a hub holds, and its GGUF files to choose among",
		Query: []Param{
			{Name: "name", Type: "string", Summary: "The repository, OWNER/NAME"},
			from,
			{Name: "revision", Type: "string", Summary: "A branch, a tag or a commit; the hub's first branch when absent"},
		},
		Response: api.HubFiles{}, Errors: []api.Code{api.CodeNotFound, api.CodeUpstream, api.CodeNotImplemented}, Handle: s.hubFiles,
	}}
}

func hubOf(r *http.Request) (api.ModelSource, error) {
	source, err := api.ParseModelSource(cmp.Or(r.URL.Query().Get("source"), string(api.SourceHuggingFace)))
	if err != nil || source != api.SourceHuggingFace && source != api.SourceModelScope {
		reason := "must be hugging_face or model_scope"
		return "", &api.Error{Code: api.CodeInvalidRequest, Message: "source " + reason, Details: []api.Field{{Field: "source", Reason: reason}}}
	}
	return source, nil
}

func (s *server) searchHub(w http.ResponseWriter, r *http.Request) error {
	limit, err := queryInt(r, "limit", searchFound, 1, searchMost)
	if err != nil {
		return err
	}
	source, err := hubOf(r)
	if err != nil {
		return err
	}
	found, err := s.lookInHub(w, r, source, limit)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, found)
	return nil
}

// lookInHub searches for the request's q.
func (s *server) lookInHub(w http.ResponseWriter, r *http.Request, source api.ModelSource, limit int) ([]api.HubModel, error) {
	words := strings.TrimSpace(r.URL.Query().Get("q"))
	if words == "" || len(words) > searchWords || !utf8.ValidString(words) {
		return nil, api.Errorf(api.CodeInvalidRequest, "q must say what to look for, in at most %d bytes: %s?q=qwen", searchWords, r.URL.Path)
	}
	if s.Hubs.Search == nil {
		return nil, errOffline()
	}
	ctx, cancel := context.WithTimeout(r.Context(), searchWithin)
	defer cancel()
	found, err := s.Hubs.Search(ctx, source, words, limit)
	if err != nil {
		return nil, hubFailed(w, r, err)
	}
	return found, nil
}

func (s *server) hubFiles(w http.ResponseWriter, r *http.Request) error {
	source, err := hubOf(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	name := q.Get("name")
	if name == "" {
		return api.Errorf(api.CodeInvalidRequest, "name must say which repository: %s?name=OWNER/NAME", r.URL.Path)
	}
	if s.Hubs.Files == nil {
		return errOffline()
	}
	ctx, cancel := context.WithTimeout(r.Context(), searchWithin)
	defer cancel()
	files, err := s.Hubs.Files(ctx, source, name, q.Get("revision"))
	if err != nil {
		return hubFailed(w, r, err)
	}
	writeJSON(w, http.StatusOK, files)
	return nil
}

func errOffline() error {
	return api.Errorf(api.CodeNotImplemented, "this server is offline (--offline) and asks no hub: look there yourself, and declare the model by its name or its path")
}

// hubFailed is what people are told when a hub did not answer as it should.
func hubFailed(w http.ResponseWriter, r *http.Request, err error) error {
	busy, limited := errors.AsType[*HubBusyError](err)
	wrong, named := errors.AsType[*HubNameError](err)
	switch {
	case r.Context().Err() != nil:
		return r.Context().Err()
	case named && wrong.Missing:
		return api.Errorf(api.CodeNotFound, "%s", wrong)
	case named:
		return api.Errorf(api.CodeInvalidRequest, "%s", wrong)
	case limited:
		seconds := int((cmp.Or(busy.After, time.Second) + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		return api.Errorf(api.CodeUpstream, "the hub cannot be asked now: %s. Try again in %d s, or declare the model by its name", busy, seconds)
	case errors.Is(err, context.DeadlineExceeded):
		return api.Errorf(api.CodeUpstream, "the hub did not answer within %s: try again, or declare the model by its name", searchWithin)
	}
	return api.Errorf(api.CodeUpstream, "the hub cannot be asked now: %s. Try again, or declare the model by its name", strings.TrimSuffix(err.Error(), "."))
}
