package gguf

import "math/bits"

// block is how a tensor type stores its elements: so many of them in so many bytes.
type block struct{ elements, bytes uint64 }

// blocks are ggml's tensor types by number (ggml.h, enum ggml_type; sizes from ggml-common.h).
var blocks = map[uint32]block{
	0: {1, 4}, 1: {1, 2}, // F32 F16
	2: {32, 18}, 3: {32, 20}, // Q4_0 Q4_1
	6: {32, 22}, 7: {32, 24}, // Q5_0 Q5_1
	8: {32, 34}, 9: {32, 36}, // Q8_0 Q8_1
	10: {256, 84}, 11: {256, 110}, 12: {256, 144}, 13: {256, 176}, 14: {256, 210}, 15: {256, 292}, // Q2_K … Q6_K Q8_K
	16: {256, 66}, 17: {256, 74}, 18: {256, 98}, // IQ2_XXS IQ2_XS IQ3_XXS
	19: {256, 50}, 20: {32, 18}, 21: {256, 110}, // IQ1_S IQ4_NL IQ3_S
	22: {256, 82}, 23: {256, 136}, // IQ2_S IQ4_XS
	24: {1, 1}, 25: {1, 2}, 26: {1, 4}, 27: {1, 8}, 28: {1, 8}, // I8 I16 I32 I64 F64
	29: {256, 56}, 30: {1, 2}, // IQ1_M BF16
	34: {256, 54}, 35: {256, 66}, // TQ1_0 TQ2_0
	39: {32, 17}, // MXFP4
}

// tensorSize is the size of a tensor's data in bytes, rounded down; 0 for a type that is not in the table.
func tensorSize(kind uint32, elements uint64) uint64 {
	b, ok := blocks[kind]
	if !ok {
		return 0
	}
	hi, lo := bits.Mul64(elements/b.elements, b.bytes)
	if hi != 0 {
		return 1<<64 - 1
	}
	return lo
}
