package gateway

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"strings"
	"unicode/utf8"
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

// scanner walks JSON without decoding it. When a walk returns false, bad says what is wrong at i.
type scanner struct {
	b   []byte
	i   int
	bad string
}

func (s *scanner) fail(what string) bool {
	s.bad = what
	return false
}

// here fails with what stands at i.
func (s *scanner) here(want string) bool {
	if s.i >= len(s.b) {
		return s.fail("it ends where " + want + " should be")
	}
	return s.fail(fmt.Sprintf("%q where %s should be", s.b[s.i], want))
}

func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// value walks over the value at i; depth is how many objects and arrays are open around it.
func (s *scanner) value(depth int) bool {
	switch c := s.peek(); {
	case c == '"':
		return s.str()
	case c == '{':
		return s.object(depth+1, nil)
	case c == '[':
		return s.array(depth+1, nil)
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return s.here("a value")
}

// object walks over the object at i. visit, when not nil, gets each member, the key with its quotes, and ends the walk with false.
func (s *scanner) object(depth int, visit func(key, val span) bool) bool {
	if depth > maxDepth {
		return s.fail("it nests too deep")
	}
	s.i++
	if s.space(); s.peek() == '}' {
		s.i++
		return true
	}
	for {
		if s.peek() != '"' {
			return s.here("a name")
		}
		key := span{at: s.i}
		if !s.str() {
			return false
		}
		key.end = s.i
		if s.space(); s.peek() != ':' {
			return s.here("a colon")
		}
		s.i++
		s.space()
		val := span{at: s.i}
		if !s.value(depth) {
			return false
		}
		val.end = s.i
		if visit != nil && !visit(key, val) {
			return false
		}
		switch s.space(); s.peek() {
		case ',':
			s.i++
			s.space()
		case '}':
			s.i++
			return true
		default:
			return s.here("a comma or a closing brace")
		}
	}
}

// array walks over the array at i, as object does.
func (s *scanner) array(depth int, visit func(val span) bool) bool {
	if depth > maxDepth {
		return s.fail("it nests too deep")
	}
	s.i++
	if s.space(); s.peek() == ']' {
		s.i++
		return true
	}
	for {
		val := span{at: s.i}
		if !s.value(depth) {
			return false
		}
		val.end = s.i
		if visit != nil && !visit(val) {
			return false
		}
		switch s.space(); s.peek() {
		case ',':
			s.i++
			s.space()
		case ']':
			s.i++
			return true
		default:
			return s.here("a comma or a closing bracket")
		}
	}
}

// str walks over the string at i, eight bytes at a time: prompts are nearly all of a body.
func (s *scanner) str() bool {
	b := s.b
	i := s.i + 1
	for {
		for i+16 <= len(b) && special(binary.LittleEndian.Uint64(b[i:]))|special(binary.LittleEndian.Uint64(b[i+8:])) == 0 {
			i += 16
		}
		for i+8 <= len(b) {
			if x := special(binary.LittleEndian.Uint64(b[i:])); x != 0 {
				i += bits.TrailingZeros64(x) / 8
				break
			}
			i += 8
		}
		s.i = i
		if i >= len(b) {
			return s.fail("a string does not end")
		}
		switch c := b[i]; {
		case c == '"':
			s.i++
			return true
		case c == '\\':
			if !s.escape() {
				return false
			}
			i = s.i
		case c < 0x20:
			return s.fail("a control character in a string")
		case c < utf8.RuneSelf:
			i++
		}
		for i < len(b) && b[i] >= utf8.RuneSelf {
			_, n := utf8.DecodeRune(b[i:])
			if n == 1 {
				s.i = i
				return s.fail("a string that is not UTF-8")
			}
			i += n
		}
	}
}

// special marks the bytes of x that are a quote, a backslash, a control character or not ASCII, by their top bit. Flipping bit 1
// puts the quote next to the control characters, so that one subtraction finds both. Bytes above the first mark may be marked by
// mistake (a borrow runs upwards), which does not matter as only the first is used.
func special(x uint64) uint64 {
	const (
		ones = 0x0101010101010101
		tops = 0x8080808080808080
	)
	return (((x ^ ones*2) - ones*0x21) | ((x ^ ones*'\\') - ones) | x) & tops
}

func (s *scanner) escape() bool {
	s.i++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i++
		return true
	case 'u':
		for range 4 {
			s.i++
			c := s.peek() | 0x20
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') || s.peek() < '0' {
				return s.here("a hexadecimal digit")
			}
		}
		s.i++
		return true
	}
	return s.here("an escaped character")
}

func (s *scanner) number() bool {
	if s.peek() == '-' {
		s.i++
	}
	if s.peek() == '0' {
		s.i++
	} else if !s.digits() {
		return false
	}
	if s.peek() == '.' {
		s.i++
		if !s.digits() {
			return false
		}
	}
	if s.peek()|0x20 == 'e' {
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	from := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > from || s.here("a digit")
}

func (s *scanner) literal(word string) bool {
	if !bytes.HasPrefix(s.b[s.i:], []byte(word)) {
		return s.here(word)
	}
	s.i += len(word)
	return true
}
