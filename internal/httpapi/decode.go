package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nebula-serve/nebula/api"
)

// decode reads a JSON object into v. Unknown fields are ignored, as the contract says. An empty body is {} where optional.
func decode(r *http.Request, v any, optional bool) error {
	b, err := readBody(r)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(b)) == 0 {
		if optional {
			return nil
		}
		return api.Errorf(api.CodeInvalidRequest, "the body is empty; send a JSON object")
	}
	if err := jsonType(r); err != nil {
		return err
	}
	if !utf8.Valid(b) {
		return api.Errorf(api.CodeInvalidRequest, "the body is not valid UTF-8")
	}
	if trimmed := bytes.TrimSpace(b); trimmed[0] != '{' {
		return api.Errorf(api.CodeInvalidRequest, "the body must be a JSON object")
	}
	if err := json.Unmarshal(b, v); err != nil {
		return jsonError(err)
	}
	return nil
}

func readBody(r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(r.Body)
	if tooBig, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, api.Errorf(api.CodeTooLarge, "the body is larger than %d bytes", tooBig.Limit)
	}
	if err != nil {
		return nil, api.Errorf(api.CodeInvalidRequest, "the body could not be read")
	}
	return b, nil
}

func jsonType(r *http.Request) error {
	given := r.Header.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(given)
	if given == "" || err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json")) {
		return nil
	}
	return api.Errorf(api.CodeUnsupportedMedia, "the body must be application/json, not %.80q", given)
}

// jsonError says where the body is wrong, without the wording of the decoder's Go types.
func jsonError(err error) error {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return api.Errorf(api.CodeInvalidRequest, "the body is not valid JSON at byte %d: %s", e.Offset, e.Error())
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		want := map[string]string{
			"uint32": "a whole number from 0 to 4294967295", "uint64": "a whole number", "bool": "true or false",
			"float32": "a number", "string": "a string",
		}[e.Type.String()]
		if want == "" {
			want = "another type"
		}
		reason := fmt.Sprintf("must be %s, not %.40s", want, e.Value)
		return &api.Error{
			Code: api.CodeInvalidRequest, Message: "the body is not valid: " + e.Field + " " + reason,
			Details: []api.Field{{Field: e.Field, Reason: reason}},
		}
	}
	return api.Errorf(api.CodeInvalidRequest, "the body is not valid: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// ifMatch reads the revision of an If-Match header; 0 when there is none or it is "*".
func ifMatch(r *http.Request) (int64, error) {
	h := strings.TrimSpace(r.Header.Get("If-Match"))
	if h == "" || h == "*" {
		return 0, nil
	}
	rev, err := strconv.ParseInt(strings.Trim(h, `"`), 10, 64)
	if err != nil || rev <= 0 {
		return 0, api.Errorf(api.CodeInvalidRequest, "If-Match must be the ETag of an earlier answer, for example \"123\"")
	}
	return rev, nil
}

func etag(rev int64) string { return `"` + strconv.FormatInt(rev, 10) + `"` }

// queryInt reads a whole number between lo and hi; def when it is absent.
func queryInt(r *http.Request, name string, def, lo, hi int) (int, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < lo || n > hi {
		return 0, api.Errorf(api.CodeInvalidRequest, "%s must be a whole number from %d to %d, not %.40q", name, lo, hi, s)
	}
	return n, nil
}

// queryBool reads 1/true/yes; a bare name counts as true.
func queryBool(r *http.Request, name string) bool {
	q := r.URL.Query()
	if !q.Has(name) {
		return false
	}
	switch strings.ToLower(q.Get(name)) {
	case "", "1", "true", "yes":
		return true
	}
	return false
}
