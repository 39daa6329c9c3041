package gateway

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

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
