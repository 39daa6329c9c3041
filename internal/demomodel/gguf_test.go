package demomodel

import (
	"encoding/binary"
	"fmt"
	"math"
)

// parsed is a GGUF file read back by a reader that shares nothing with the writer.
type parsed struct {
	meta    map[string]any
	tensors map[string]tensor
}

type tensor struct {
	shape  []int
	values []float32
}

type reader struct {
	b   []byte
	pos int
}

func (r *reader) bytes(n int) []byte {
	r.pos += n
	return r.b[r.pos-n : r.pos]
}
func (r *reader) u32() uint32    { return binary.LittleEndian.Uint32(r.bytes(4)) }
func (r *reader) u64() int       { return int(binary.LittleEndian.Uint64(r.bytes(8))) }
func (r *reader) string() string { return string(r.bytes(r.u64())) }

func (r *reader) value(kind uint32) any {
	switch kind {
	case 4:
		return r.u32()
	case 5:
		return int32(r.u32())
	case 6:
		return math.Float32frombits(r.u32())
	case 7:
		return r.bytes(1)[0] != 0
	case 8:
		return r.string()
	case 9:
		kind, vs := r.u32(), []any{}
		for range r.u64() {
			vs = append(vs, r.value(kind))
		}
		return vs
	}
	panic(fmt.Sprintf("value type %d", kind)) // recovered by parse
}

// parse reads a whole GGUF file and refuses one that is cut short, misaligned or longer than its tensors.
func parse(b []byte) (p parsed, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("broken GGUF: %v", r)
		}
	}()
	r := &reader{b: b}
	if magic, version := string(r.bytes(4)), r.u32(); magic != "GGUF" || version != 3 {
		return p, fmt.Errorf("starts with %q, version %d", magic, version)
	}
	p = parsed{meta: map[string]any{}, tensors: map[string]tensor{}}
	tensors, keys := r.u64(), r.u64()
	for range keys {
		key := r.string()
		if _, ok := p.meta[key]; ok {
			return p, fmt.Errorf("key %s twice", key)
		}
		p.meta[key] = r.value(r.u32())
	}
	offsets, names := map[string]int{}, []string{}
	for range tensors {
		name, t := r.string(), tensor{}
		for range r.u32() {
			t.shape = append(t.shape, r.u64())
		}
		if kind := r.u32(); kind != 0 {
			return p, fmt.Errorf("tensor %s has type %d, not F32", name, kind)
		}
		offsets[name], p.tensors[name] = r.u64(), t
		names = append(names, name)
	}
	r.pos = (r.pos + 31) / 32 * 32
	start := r.pos
	for _, name := range names {
		if r.pos-start != offsets[name] || offsets[name]%32 != 0 {
			return p, fmt.Errorf("tensor %s at %d, expected at %d", name, offsets[name], r.pos-start)
		}
		t, n := p.tensors[name], 1
		for _, dim := range t.shape {
			n *= dim
		}
		for range n {
			t.values = append(t.values, math.Float32frombits(r.u32()))
		}
		p.tensors[name] = t
	}
	if r.pos != len(b) {
		return p, fmt.Errorf("%d bytes behind the last tensor", len(b)-r.pos)
	}
	return p, nil
}
