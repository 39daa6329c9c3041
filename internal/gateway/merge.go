package gateway

import (
	"bytes"
	"errors"
	"strconv"
)

// node is a JSON value that is put together from the deltas of a stream, by the rules that OpenAI's own clients go by: texts are
// joined, lists are joined, items with an index are merged by it, objects are merged, null changes nothing, and of anything else the
// last one counts. Texts are joined as they are written, escapes and all, so nothing is decoded.
type node struct {
	kind    nodeKind
	text    []byte // of a text, without quotes; of a plain value; of a list, its items with commas between
	members []member
	items   []*node // of a list of items with an index, by that
}

type nodeKind uint8

const (
	isNull nodeKind = iota
	isText
	isPlain // a number, true or false
	isObject
	isList
	isIndexed
)

// member is a member of an object; key has its quotes.
type member struct {
	key  []byte
	node *node
}

const (
	maxIndex = 1 << 10 // of choices and tool calls: an engine must not make us allocate by a number
	// The texts that come again with each delta instead of going on.
	repeated = `"id""type""role""object""finish_reason""model""system_fingerprint""service_tier""stop_reason"`
)

var errDelta = errors.New("a chunk of the stream is not what its API says")

// get returns the member of an object, or nil.
func (n *node) get(key string) *node {
	for i := range n.members {
		if string(n.members[i].key) == key {
			return n.members[i].node
		}
	}
	return nil
}

func (n *node) member(key []byte) *node {
	if m := n.get(string(key)); m != nil {
		return m
	}
	m := &node{}
	n.members = append(n.members, member{bytes.Clone(key), m})
	return m
}

// merge takes in a value that stands under key in a delta. raw is one whole JSON value, as the scanner finds it.
func (n *node) merge(key, raw []byte) error {
	switch raw[0] {
	case 'n':
		return nil
	case '"':
		if n.kind != isText || bytes.Contains([]byte(repeated), key) {
			n.text = n.text[:0]
		}
		n.kind = isText
		n.text = append(n.text, raw[1:len(raw)-1]...)
		return nil
	case '{':
		n.kind = isObject
		return eachMember(raw, func(k, v []byte) error { return n.member(k).merge(k, v) })
	case '[':
		return n.mergeList(raw)
	}
	n.kind = isPlain
	n.text = append(n.text[:0], raw...)
	return nil
}

func (n *node) mergeList(raw []byte) error {
	if n.kind != isList && n.kind != isIndexed {
		n.kind, n.text = isList, n.text[:0]
	}
	return eachItem(raw, func(item []byte) error {
		at, ok := index(item)
		if !ok {
			if len(n.text) > 0 {
				n.text = append(n.text, ',')
			}
			n.text = append(n.text, item...)
			return nil
		}
		if at >= maxIndex {
			return errDelta
		}
		n.kind = isIndexed
		for len(n.items) <= at {
			n.items = append(n.items, nil)
		}
		if n.items[at] == nil {
			n.items[at] = &node{}
		}
		return n.items[at].merge(nil, item)
	})
}

// index returns the index of a list's item, if it is an object that has one.
func index(item []byte) (at int, ok bool) {
	if item[0] != '{' {
		return 0, false
	}
	err := eachMember(item, func(k, v []byte) error {
		if string(k) == `"index"` {
			n, err := strconv.ParseUint(string(v), 10, 31)
			at, ok = int(n), err == nil
		}
		return nil
	})
	return at, ok && err == nil
}

// append writes the value. An indexed list's items leave their index out.
func (n *node) append(b []byte) []byte {
	switch n.kind {
	case isText:
		return append(append(append(b, '"'), n.text...), '"')
	case isPlain:
		return append(b, n.text...)
	case isList:
		return append(append(append(b, '['), n.text...), ']')
	case isObject:
		return n.appendObject(b, "")
	case isIndexed:
		b = append(b, '[')
		comma := false
		for _, item := range n.items {
			if item == nil {
				continue
			}
			if comma {
				b = append(b, ',')
			}
			comma = true
			b = item.appendObject(b, `"index"`)
		}
		return append(b, ']')
	}
	return append(b, "null"...)
}

// appendObject writes an object without one of its members.
func (n *node) appendObject(b []byte, without string) []byte {
	b = append(b, '{')
	comma := false
	for _, m := range n.members {
		if string(m.key) == without {
			continue
		}
		if comma {
			b = append(b, ',')
		}
		comma = true
		b = append(append(b, m.key...), ':')
		b = m.node.append(b)
	}
	return append(b, '}')
}

// eachMember calls f for each member of the JSON object that raw is; keys have their quotes.
func eachMember(raw []byte, f func(key, val []byte) error) error {
	s := scanner{b: raw}
	var err error
	if len(raw) == 0 || raw[0] != '{' {
		return errDelta
	}
	ok := s.object(1, func(key, val span) bool {
		err = f(raw[key.at:key.end], raw[val.at:val.end])
		return err == nil
	})
	if err != nil {
		return err
	}
	if s.space(); !ok || s.i < len(raw) {
		return errDelta
	}
	return nil
}

// eachItem calls f for each item of the JSON array that raw is.
func eachItem(raw []byte, f func(item []byte) error) error {
	s := scanner{b: raw}
	var err error
	ok := s.array(1, func(val span) bool {
		err = f(raw[val.at:val.end])
		return err == nil
	})
	if err == nil && !ok {
		err = errDelta
	}
	return err
}
