package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/nebula-serve/nebula/api"
)

// TestCode_mapsToHTTPAndExitStatus is the one table that people and programs rely on.
func TestCode_mapsToHTTPAndExitStatus(t *testing.T) {
	tests := []struct {
		code         api.Code
		status, exit int
		openAI       string
	}{
		{api.CodeInvalidRequest, http.StatusBadRequest, 2, "invalid_request_error"},
		{api.CodeInvalidUID, http.StatusBadRequest, 2, "invalid_request_error"},
		{api.CodeUnauthorized, http.StatusUnauthorized, 1, "authentication_error"},
		{api.CodeForbidden, http.StatusForbidden, 1, "permission_error"},
		{api.CodeNotFound, http.StatusNotFound, 3, "invalid_request_error"},
		{api.CodeMethodNotAllowed, http.StatusMethodNotAllowed, 1, "invalid_request_error"},
		{api.CodeMisdirected, http.StatusMisdirectedRequest, 1, "invalid_request_error"},
		{api.CodeModelExists, http.StatusConflict, 4, "invalid_request_error"},
		{api.CodeModelStopped, http.StatusConflict, 4, "invalid_request_error"},
		{api.CodeConflict, http.StatusConflict, 4, "invalid_request_error"},
		{api.CodeRevisionMismatch, http.StatusPreconditionFailed, 4, "invalid_request_error"},
		{api.CodeTooLarge, http.StatusRequestEntityTooLarge, 2, "invalid_request_error"},
		{api.CodeUnsupportedMedia, http.StatusUnsupportedMediaType, 2, "invalid_request_error"},
		{api.CodeTooManyRequests, http.StatusTooManyRequests, 1, "rate_limit_error"},
		{api.CodeUnavailable, http.StatusServiceUnavailable, 1, "server_error"},
		{api.CodeTimeout, http.StatusGatewayTimeout, 5, "server_error"},
		{api.CodeUpstream, http.StatusBadGateway, 1, "server_error"},
		{api.CodeInternal, http.StatusInternalServerError, 1, "server_error"},
		{"a code of another version", http.StatusInternalServerError, 1, "server_error"},
	}
	for _, tt := range tests {
		if got := tt.code.HTTPStatus(); got != tt.status {
			t.Errorf("%s: HTTP status %d, want %d", tt.code, got, tt.status)
		}
		if got := tt.code.ExitCode(); got != tt.exit {
			t.Errorf("%s: exit status %d, want %d", tt.code, got, tt.exit)
		}
		if got := api.Errorf(tt.code, "m").OpenAI().Error.Type; got != tt.openAI {
			t.Errorf("%s: OpenAI type %q, want %q", tt.code, got, tt.openAI)
		}
	}
}

func TestError_isFoundInAChain(t *testing.T) {
	inner := api.Errorf(api.CodeNotFound, "there is no model %q", "x")
	wrapped := fmt.Errorf("delete: %w", errors.Join(errors.New("other"), inner))
	if e, ok := api.AsError(wrapped); !ok || e != inner || e.Error() != `there is no model "x"` {
		t.Errorf("AsError: %v, %v", e, ok)
	}
	if !api.HasCode(wrapped, api.CodeNotFound) || api.HasCode(wrapped, api.CodeConflict) {
		t.Error("HasCode does not see through the chain")
	}
	for _, err := range []error{nil, errors.New("plain")} {
		if e, ok := api.AsError(err); ok || api.HasCode(err, api.CodeInternal) {
			t.Errorf("%v is taken for %v", err, e)
		}
	}
}

func TestError_shapes(t *testing.T) {
	e := &api.Error{
		Code: api.CodeInvalidRequest, Message: "replicas is missing", RequestID: "req_1",
		Details: []api.Field{{Field: "replicas", Reason: "is missing"}},
	}
	for want, shape := range map[string]any{
		`{"error":{"code":"invalid_request","message":"replicas is missing","request_id":"req_1","details":[{"field":"replicas","reason":"is missing"}]}}`: api.Envelope{Error: *e},
		`{"error":{"code":"timeout","message":"m"}}`: api.Envelope{Error: *api.Errorf(api.CodeTimeout, "m")},
		`{"error":{"message":"replicas is missing","type":"invalid_request_error","param":null,"code":"invalid_request"}}`: e.OpenAI(),
	} {
		if got, err := json.Marshal(shape); err != nil || string(got) != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}
