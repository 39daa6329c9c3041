package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/openapi"
)

// fail writes the one error envelope, or OpenAI's on /v1. What is not an api.Error is logged here, once, and people see only that
// something went wrong.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := api.AsError(err)
	if !ok {
		if over := r.Context().Err(); over != nil && (errors.Is(err, over) || errors.Is(err, context.Canceled)) {
			return // the caller has left, or has no time any more
		}
		s.Log.Error("request failed", "request_id", idOf(r), "method", r.Method, "path", r.URL.Path, "error", err)
		e = api.Errorf(api.CodeInternal, "something went wrong inside Nebula; its log has the details under this request id")
	}
	out := *e
	out.RequestID = idOf(r)
	status := out.Code.HTTPStatus()
	if ok && status >= http.StatusInternalServerError {
		s.Log.Warn("request not served", "request_id", out.RequestID, "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if (status == http.StatusUnauthorized || status == http.StatusForbidden) && !errors.Is(err, errLogin) { // a failed login has its own record
		s.denied(r, out.Code)
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="nebula"`)
	}
	body := failureBody(r, &out)
	if text, plain := body.(string); plain {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text+"\n") // the caller may have left
		return
	}
	writeJSON(w, status, body)
}

// failureBody is what an error looks like on the route of a request: clients read what theirs has always had.
func failureBody(r *http.Request, e *api.Error) any {
	_, path, routed := strings.Cut(r.Pattern, " ")
	if !routed || path == "/" {
		path = "" // no row: the own shape, but under /v1
	}
	if r.URL.Path == "/v1" || strings.HasPrefix(r.URL.Path, "/v1/") {
		path = r.URL.Path
	}
	switch openapi.FailureOf(path, e.Code.HTTPStatus()) {
	case openapi.FailureOpenAI:
		return e.OpenAI()
	case openapi.FailureDenied:
		return api.V1Denied{Error: api.V1Message{Message: e.Message}}
	case openapi.FailureText:
		return e.Message
	case openapi.FailureAuth:
		return api.V1AuthError{Error: e.Message}
	}
	return api.Envelope{Error: *e}
}

func idOf(r *http.Request) string {
	id, _ := r.Context().Value(keyRequestID).(string)
	return id
}

// writeJSON writes v. A value that cannot be encoded is a programming error and answers 500.
func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"the answer cannot be encoded"}}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the caller may have left
}
