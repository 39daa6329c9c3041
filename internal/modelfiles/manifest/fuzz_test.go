package manifest

import (
	"slices"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
)

// FuzzSelect: whatever a listing names, a choice is of its files, each once, and none of them leads out of its folder.
func FuzzSelect(f *testing.F) {
	f.Add("m-00001-of-00002.gguf\nm-00002-of-00002.gguf\nmmproj-f16.gguf", "Q4_K_M")
	f.Add("m-00000-of-00000.gguf\nm-99999-of-99999.gguf\n-00001-of-00001.gguf", "*")
	f.Add("model.safetensors\nconsolidated.safetensors\nmodel_index.json\nunet/x-00001-of-00003.bin", "[")
	f.Add("../a.gguf\na/../b\n/\nA\na", "")
	f.Fuzz(func(t *testing.T, names, pattern string) {
		if len(names) > 4096 || len(pattern) > 256 {
			return
		}
		var entries []Entry
		for i, name := range strings.Split(names, "\n") {
			entries = append(entries, Entry{Path: name, Size: int64(i)})
		}
		for _, engine := range api.Engines() {
			want := Want{Engine: engine}
			if pattern != "" {
				want.Patterns = []string{pattern}
			}
			m, err := Select(entries, want, nil)
			if err != nil {
				continue
			}
			seen := map[string]bool{}
			for _, e := range m.Files {
				if seen[e.Path] || !slices.Contains(entries, e) || NameFault(e.Path) != "" || slices.Contains(strings.Split(e.Path, "/"), "..") {
					t.Fatalf("%s of %q chose %q", engine, names, e.Path)
				}
				seen[e.Path] = true
			}
		}
	})
}
