package demomodel

import (
	"encoding/binary"
	"math"
)

// Value types of GGUF metadata, version 3: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
const (
	valueUint32  = 4
	valueInt32   = 5
	valueFloat32 = 6
	valueBool    = 7
	valueString  = 8
	valueArray   = 9

	ggufVersion = 3
	alignment   = 32
)

// gguf gathers a GGUF file of F32 tensors. The zero value is ready.
type gguf struct {
	keys, tensors uint64
	meta          []byte // the metadata, encoded
	index         []byte // the tensor infos, encoded
	data          []byte // the tensors
}

func appendUint32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }
func appendUint64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }
func appendString(b []byte, s string) []byte { return append(appendUint64(b, uint64(len(s))), s...) }

func appendFloat32(b []byte, f float32) []byte {
	return appendUint32(b, math.Float32bits(f))
}

func (g *gguf) putKey(key string, valueType uint32) {
	g.keys++
	g.meta = appendUint32(appendString(g.meta, key), valueType)
}

func (g *gguf) putArray(key string, valueType uint32, n int) {
	g.putKey(key, valueArray)
	g.meta = appendUint64(appendUint32(g.meta, valueType), uint64(n))
}

func (g *gguf) putUint32(key string, v uint32) {
	g.putKey(key, valueUint32)
	g.meta = appendUint32(g.meta, v)
}

func (g *gguf) putFloat32(key string, v float32) {
	g.putKey(key, valueFloat32)
	g.meta = appendFloat32(g.meta, v)
}

func (g *gguf) putBool(key string, v bool) {
	g.putKey(key, valueBool)
	b := byte(0)
	if v {
		b = 1
	}
	g.meta = append(g.meta, b)
}

func (g *gguf) putString(key, v string) {
	g.putKey(key, valueString)
	g.meta = appendString(g.meta, v)
}

func (g *gguf) putStrings(key string, vs []string) {
	g.putArray(key, valueString, len(vs))
	for _, v := range vs {
		g.meta = appendString(g.meta, v)
	}
}

func (g *gguf) putInt32s(key string, vs []int32) {
	g.putArray(key, valueInt32, len(vs))
	for _, v := range vs {
		g.meta = appendUint32(g.meta, uint32(v))
	}
}

func (g *gguf) putFloat32s(key string, vs []float32) {
	g.putArray(key, valueFloat32, len(vs))
	for _, v := range vs {
		g.meta = appendFloat32(g.meta, v)
	}
}

// addTensor adds a matrix of that many rows, or a vector where rows is 0.
func (g *gguf) addTensor(name string, values []float32, rows int) {
	shape := []int{len(values)}
	if rows > 0 {
		shape = []int{len(values) / rows, rows}
	}
	g.tensors++
	g.index = appendUint32(appendString(g.index, name), uint32(len(shape)))
	for _, n := range shape {
		g.index = appendUint64(g.index, uint64(n))
	}
	const f32 = 0
	g.index = appendUint64(appendUint32(g.index, f32), uint64(len(g.data)))
	for _, v := range values {
		g.data = appendFloat32(g.data, v)
	}
	g.data = pad(g.data)
}

// bytes returns the file.
func (g *gguf) bytes() []byte {
	b := appendUint32([]byte("GGUF"), ggufVersion)
	b = appendUint64(appendUint64(b, g.tensors), g.keys)
	b = append(append(b, g.meta...), g.index...)
	return append(pad(b), g.data...)
}

func pad(b []byte) []byte {
	return append(b, make([]byte, -len(b)&(alignment-1))...)
}
