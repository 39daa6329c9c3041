package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoginRoots(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.pem")
	if err := os.WriteFile(text, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if roots, err := loginRoots(""); roots != nil || err != nil {
		t.Errorf("%v %v", roots, err)
	}
	for file, says := range map[string]string{text: "holds no certificate", filepath.Join(dir, "none"): "no such file", dir: "is a directory"} {
		if roots, err := loginRoots(file); roots != nil || err == nil || !strings.Contains(err.Error(), says) || !strings.HasPrefix(err.Error(), "--oidc-ca-file: ") {
			t.Errorf("%s: %v %v", file, roots, err)
		}
	}
}
