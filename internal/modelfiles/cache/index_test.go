package cache

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func FuzzReadWeightMap(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":1},"weight_map":{"b":"x-00002-of-00002.safetensors","a":"x-00001-of-00002.safetensors","c":"x-00001-of-00002.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"a":"../../etc/passwd"}}`))
	f.Add([]byte(`{"weight_map":null}`))
	name := filepath.Join(f.TempDir(), "index.json")
	f.Fuzz(func(t *testing.T, in []byte) {
		if err := os.WriteFile(name, in, 0o600); err != nil {
			t.Fatal(err)
		}
		names, err := ReadWeightMap(name)
		if err == nil && (!slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names)) {
			t.Fatalf("names twice or out of order: %q", names)
		}
	})
}
