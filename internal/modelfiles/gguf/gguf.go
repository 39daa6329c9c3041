// Package gguf reads the header of a GGUF file: what the model is, and how long the file has to be. It believes nothing:
// every count is bounded before it is used, and it never reads tensor data, holds a tokenizer in memory or writes.
//
// The format is described in ggml's docs/gguf.md; versions 2 and 3, little-endian.
package gguf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"strings"
)

// What can be wrong with a file.
var (
	ErrNotGGUF   = errors.New("not a GGUF file")
	ErrTruncated = errors.New("the file is shorter than its header says")
	ErrInvalid   = errors.New("the header makes no sense")
)

// Limits far above every real model.
const (
	maxPairs   = 1 << 16
	maxTensors = 1 << 20
	maxText    = 1 << 20 // of a key or of a value that is kept
	maxDims    = 8
	maxDepth   = 4
	maxHeader  = 1 << 30
)

// Header is what Nebula needs of a GGUF header.
type Header struct {
	Version       uint32
	Tensors       uint64
	Architecture  string // "llama"; empty when absent
	Name          string
	ContextLength uint64 // tokens the model was trained for; 0 = unknown
	Pooling       Pooling
	ChatTemplate  bool
	Splits        uint64 // how many files the model is split into; 0 or 1 = one
	// Size is the least length of a complete file, in bytes: the end of the last tensor. Tensors of a type that is
	// not known here count by their offset alone.
	Size int64
}

// Pooling is how an embedding model makes one vector of many: llama.cpp's values.
type Pooling int

// The values; PoolingAbsent means that the header says nothing.
const (
	PoolingAbsent Pooling = iota - 1
	PoolingNone
	PoolingMean
	PoolingCLS
	PoolingLast
	PoolingRank
)

// Embedding tells whether the model gives vectors instead of text: it pools, or its architecture is an encoder.
func (h *Header) Embedding() bool {
	if h.Pooling > PoolingNone {
		return true
	}
	a := h.Architecture
	return strings.HasSuffix(a, "bert") || strings.HasSuffix(a, "bert-moe") || strings.HasSuffix(a, "-embedding") ||
		strings.HasPrefix(a, "jina-bert") || a == "t5encoder"
}

// Read reads a header from the start of a file of the given length. The error is one of the three above, with details.
func Read(r io.Reader, length int64) (Header, error) {
	d := &decoder{r: bufio.NewReaderSize(r, 1<<16), left: min(length, maxHeader)}
	h := Header{Pooling: PoolingAbsent}
	magic, ok := d.bytes(4)
	if !ok || string(magic) != "GGUF" {
		return h, ErrNotGGUF
	}
	h.Version = d.u32()
	if d.err == nil && h.Version != 2 && h.Version != 3 {
		return h, fmt.Errorf("%w: version %d; 2 and 3 are known", ErrInvalid, h.Version)
	}
	h.Tensors = d.u64()
	pairs := d.u64()
	if d.err == nil && (h.Tensors > maxTensors || pairs > maxPairs) {
		return h, fmt.Errorf("%w: %d tensors, %d metadata entries", ErrInvalid, h.Tensors, pairs)
	}
	meta := metadata{align: 32, texts: map[string]string{}, numbers: map[string]uint64{}}
	for range pairs {
		if d.err != nil {
			break
		}
		meta.read(d)
	}
	end := d.tensors(h.Tensors)
	if d.err == nil && (meta.align == 0 || meta.align > 1<<20 || bits.OnesCount64(meta.align) != 1) {
		d.err = fmt.Errorf("%w: alignment %d", ErrInvalid, meta.align)
	}
	if d.err != nil {
		if length > maxHeader && errors.Is(d.err, ErrTruncated) {
			return h, fmt.Errorf("%w: longer than %d bytes", ErrInvalid, maxHeader)
		}
		return h, d.err
	}
	meta.tell(&h)
	h.Size = d.at
	if h.Tensors > 0 {
		data := (uint64(d.at) + meta.align - 1) / meta.align * meta.align
		size, carry := bits.Add64(data, end, 0)
		if carry != 0 || size > math.MaxInt64 {
			return h, fmt.Errorf("%w: tensors end past every file", ErrInvalid)
		}
		h.Size = int64(size)
	}
	if h.Size > length {
		return h, fmt.Errorf("%w: %d bytes, needs %d", ErrTruncated, length, h.Size)
	}
	return h, nil
}

// metadata keeps the few entries that matter.
type metadata struct {
	align   uint64
	texts   map[string]string
	numbers map[string]uint64
}

// The types of metadata values.
const (
	typeU8 uint32 = iota
	typeI8
	typeU16
	typeI16
	typeU32
	typeI32
	typeF32
	typeBool
	typeText
	typeArray
	typeU64
	typeI64
	typeF64
)

// width is the size of a value of fixed length, or 0.
func width(kind uint32) uint64 {
	switch kind {
	case typeU8, typeI8, typeBool:
		return 1
	case typeU16, typeI16:
		return 2
	case typeU32, typeI32, typeF32:
		return 4
	case typeU64, typeI64, typeF64:
		return 8
	}
	return 0
}

func (m *metadata) read(d *decoder) {
	key := d.text()
	kind := d.u32()
	switch {
	case d.err != nil:
	case kind == typeText && (strings.HasPrefix(key, "general.") || key == "tokenizer.chat_template"):
		m.texts[key] = d.text()
	case kind == typeF32 || kind == typeF64 || width(kind) == 0:
		d.skip(kind, 0)
	default:
		v := d.number(width(kind))
		m.numbers[key] = v
		if key == "general.alignment" {
			m.align = v
		}
	}
}

func (m *metadata) tell(h *Header) {
	h.Architecture, h.Name = m.texts["general.architecture"], m.texts["general.name"]
	h.ChatTemplate = m.texts["tokenizer.chat_template"] != ""
	h.ContextLength = m.numbers[h.Architecture+".context_length"]
	if p, ok := m.numbers[h.Architecture+".pooling_type"]; ok && p <= uint64(PoolingRank) {
		h.Pooling = Pooling(p)
	}
	h.Splits = m.numbers["split.count"]
}

// decoder reads little-endian values; after the first error it returns zeros.
type decoder struct {
	r    *bufio.Reader
	at   int64
	left int64
	err  error
	buf  [8]byte
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// take counts n bytes, or fails when the file does not have them.
func (d *decoder) take(n uint64) bool {
	if d.err != nil {
		return false
	}
	if n > uint64(max(d.left, 0)) {
		d.fail(fmt.Errorf("%w: it ends inside its header", ErrTruncated))
		return false
	}
	d.at += int64(n)
	d.left -= int64(n)
	return true
}

func (d *decoder) bytes(n int) ([]byte, bool) {
	if !d.take(uint64(n)) {
		return nil, false
	}
	if _, err := io.ReadFull(d.r, d.buf[:n]); err != nil {
		d.readFailed(err)
		return nil, false
	}
	return d.buf[:n], true
}

func (d *decoder) readFailed(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: it ends inside its header", ErrTruncated)
	}
	d.fail(err)
}

func (d *decoder) number(width uint64) uint64 {
	b, ok := d.bytes(int(width))
	if !ok {
		return 0
	}
	var v [8]byte
	copy(v[:], b)
	return binary.LittleEndian.Uint64(v[:])
}

func (d *decoder) u32() uint32 { return uint32(d.number(4)) }
func (d *decoder) u64() uint64 { return d.number(8) }

// text reads a string and keeps it when it is short; of a longer one it returns a mark only.
func (d *decoder) text() string {
	n := d.u64()
	if n > maxText {
		d.discard(n)
		return "(long)"
	}
	if !d.take(n) {
		return ""
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(d.r, b); err != nil {
		d.readFailed(err)
		return ""
	}
	return string(b)
}

func (d *decoder) discard(n uint64) {
	if !d.take(n) {
		return
	}
	if _, err := d.r.Discard(int(n)); err != nil {
		d.readFailed(err)
	}
}

// skip passes over a value.
func (d *decoder) skip(kind uint32, depth int) {
	switch w := width(kind); {
	case w > 0:
		d.discard(w)
	case kind == typeText:
		d.discard(d.u64())
	case kind == typeArray && depth < maxDepth:
		element, n := d.u32(), d.u64()
		if w := width(element); w > 0 {
			hi, size := bits.Mul64(w, n)
			if hi != 0 {
				size = math.MaxUint64
			}
			d.discard(size)
			return
		}
		for range n {
			if d.err != nil {
				return
			}
			d.skip(element, depth+1)
		}
	default:
		d.fail(fmt.Errorf("%w: value of type %d", ErrInvalid, kind))
	}
}

// tensors reads the tensor table and returns where the last tensor ends, from the start of the data.
func (d *decoder) tensors(n uint64) uint64 {
	var last uint64
	for range n {
		d.discard(d.u64()) // name
		dims := d.u32()
		if d.err == nil && dims > maxDims {
			d.fail(fmt.Errorf("%w: a tensor of %d dimensions", ErrInvalid, dims))
		}
		if d.err != nil {
			return 0
		}
		elements, over := uint64(1), false
		for range dims {
			hi, lo := bits.Mul64(elements, d.u64())
			elements, over = lo, over || hi != 0
		}
		kind, offset := d.u32(), d.u64()
		if d.err != nil {
			return 0
		}
		end, carry := bits.Add64(offset, tensorSize(kind, elements), 0)
		if over || carry != 0 {
			d.fail(fmt.Errorf("%w: a tensor past every file", ErrInvalid))
			return 0
		}
		last = max(last, end)
	}
	return last
}
