package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nebula-serve/nebula/internal/demomodel"
)

// writeDemoModel writes the demo model into a folder and returns its absolute path.
func writeDemoModel(dir string, o demomodel.Options) (string, error) {
	if o.Name == "" || strings.ContainsAny(o.Name, "/\\\x00") || strings.HasPrefix(o.Name, ".") {
		return "", usagef("%q is not a usable file name", o.Name)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the folder: %w", err)
	}
	path, err := filepath.Abs(filepath.Join(dir, o.Name+".gguf"))
	if err != nil {
		return "", fmt.Errorf("make the path absolute: %w", err)
	}
	if err := demomodel.WriteFile(path, o); err != nil {
		return "", err
	}
	return path, nil
}
