// Package llama finds the real llama-server for tests. It never downloads one: scripts/llama-server.sh does, before the tests run.
package llama

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Find returns the path of a llama-server: NEBULA_LLAMA_SERVER, the PATH, then the cache that scripts/llama-server.sh
// fills; empty when there is none.
func Find() string {
	if path := os.Getenv("NEBULA_LLAMA_SERVER"); path != "" {
		return path
	}
	if path, err := exec.LookPath("llama-server"); err == nil {
		return path
	}
	dir := os.Getenv("NEBULA_LLAMA_DIR")
	if cache, err := os.UserCacheDir(); dir == "" && err == nil {
		dir = filepath.Join(cache, "nebula", "llama-server")
	}
	path := filepath.Join(dir, "llama-server")
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// Need is [Find] for a test that cannot do without; where there is none it is skipped by name.
func Need(tb testing.TB) string {
	tb.Helper()
	path := Find()
	if path == "" {
		tb.Skip("no llama-server: run scripts/llama-server.sh, or set NEBULA_LLAMA_SERVER")
	}
	return path
}
