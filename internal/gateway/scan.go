package gateway

import (
	"bytes"
	"encoding/json"
	"strings"
)

// maxDepth bounds how deep a body nests; deeper ones only serve to break parsers.
const maxDepth = 64

// span is body[at:end].
type span struct{ at, end int }

func (s span) empty() bool { return s.at == s.end }

// request is what the gateway needs to know of a body; the rest of it stays as it is.
type request struct {
	model   string
	stream  bool
	modelAt span // the value, quotes included
	// streamAt and optionsAt are the values of stream and stream_options; empty when the body has none.
	streamAt, optionsAt span
	open                int // just behind the first brace
}

// scanRequest checks a body and finds the three members that the gateway acts upon. Nothing is decoded but the model's name, so the
// cost is one pass over the bytes.
//
// It takes what encoding/json takes, less what two parsers could read differently: invalid UTF-8, and any of the three names twice
// or in another case. Whoever checks the name here and the engine that reads the body behind it see the same request.
func scanRequest(body []byte) (request, *fault) {
	var (
		req request
		f   *fault
		s   = scanner{b: body}
	)
	s.space()
	if s.i == len(body) {
		return request{}, badRequest("", "the body is empty; send a JSON object")
	}
	if body[s.i] != '{' {
		return request{}, badRequest("", "the body must be a JSON object")
	}
	req.open = s.i + 1
	ok := s.object(1, func(key, val span) bool {
		f = req.member(body[key.at:key.end], body, val)
		return f == nil
	})
	switch {
	case f != nil:
		return request{}, f
	case !ok:
		return request{}, badRequest("", "the body is not valid JSON: %s at byte %d", s.bad, s.i)
	}
	if s.space(); s.i < len(body) {
		return request{}, badRequest("", "the body goes on behind its JSON object, at byte %d", s.i)
	}
	if req.model == "" {
		return request{}, badRequest("model", "the body names no model: set \"model\"; GET /v1/models lists what there is")
	}
	return req, nil
}

// member takes in one member of the body. The key has its quotes.
func (r *request) member(key, body []byte, val span) *fault {
	name, f := memberName(key)
	if f != nil || name == "" {
		return f
	}
	value := body[val.at:val.end]
	switch name {
	case "model":
		if !r.modelAt.empty() {
			return twice(name)
		}
		r.modelAt = val
		if value[0] != '"' {
			return badRequest(name, "model must be a string")
		}
		var ok bool
		if r.model, ok = unquote(value); !ok || r.model == "" {
			return badRequest(name, "model must be the name of a model")
		}
	case "stream":
		if !r.streamAt.empty() {
			return twice(name)
		}
		r.streamAt = val
		if c := value[0]; c != 't' && c != 'f' && c != 'n' {
			return badRequest(name, "stream must be true or false")
		}
		r.stream = value[0] == 't'
	case "stream_options":
		if !r.optionsAt.empty() {
			return twice(name)
		}
		r.optionsAt = val
		if c := value[0]; c != '{' && c != 'n' {
			return badRequest(name, "stream_options must be an object")
		}
	}
	return nil
}

func twice(name string) *fault { return badRequest(name, "%s is given twice", name) }

// memberName returns which of the gateway's members the quoted key is, or "". Another spelling of one is refused: some parsers
// would take it for the same.
func memberName(key []byte) (string, *fault) {
	escaped := bytes.IndexByte(key, '\\') >= 0
	if !escaped && len(key) > 2+2*len("stream_options") {
		return "", nil
	}
	name := string(key[1 : len(key)-1])
	if escaped {
		var ok bool
		if name, ok = unquote(key); !ok {
			return "", nil
		}
	}
	for _, known := range [...]string{"model", "stream", "stream_options"} {
		if name == known {
			return known, nil
		}
		if strings.EqualFold(name, known) {
			return "", badRequest(known, "%q is not a parameter; it is spelled %q", strings.Clone(name), known) // the clone keeps name off the heap
		}
	}
	return "", nil
}

// unquote decodes a JSON string that the scanner has passed.
func unquote(quoted []byte) (string, bool) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1]), true
	}
	var s string
	err := json.Unmarshal(quoted, &s)
	return s, err == nil
}

// edit replaces a part of a body.
type edit struct {
	span
	with []byte
}

// splice returns body with the edits made, which are in order and do not overlap, as pieces of the body and of the edits.
func splice(pieces [][]byte, body []byte, edits []edit) [][]byte {
	at := 0
	for _, e := range edits {
		pieces = append(pieces, body[at:e.at], e.with)
		at = e.end
	}
	return append(pieces, body[at:])
}
