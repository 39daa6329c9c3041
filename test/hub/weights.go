package hub

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
)

// Weights is a GGUF file of n bytes, at least 128, that is sound and holds nothing: random numbers, the same ones for the same seed.
func Weights(n int, seed uint64) []byte {
	var b bytes.Buffer
	put := func(vs ...any) {
		for _, v := range vs {
			if s, ok := v.(string); ok {
				_ = binary.Write(&b, binary.LittleEndian, uint64(len(s))) // a buffer takes everything
				b.WriteString(s)
				continue
			}
			_ = binary.Write(&b, binary.LittleEndian, v)
		}
	}
	b.WriteString("GGUF")
	put(uint32(3), uint64(1), uint64(1))
	put("general.architecture", uint32(8), "llama")
	put("t", uint32(1), uint64(1), uint32(24), uint64(0)) // one tensor of one int8, at the next multiple of 32 bytes
	random := make([]byte, n-b.Len())
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(random) // it never fails
	return append(b.Bytes(), random...)
}
