package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/secret"
)

func key(t *testing.T, fill byte) secret.Key {
	t.Helper()
	k, err := secret.NewKey(bytes.Repeat([]byte{fill}, secret.KeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const value = "hf_canary0123456789"

func TestSealed_opensInItsPlaceAlone(t *testing.T) {
	k := key(t, 1)
	s, err := k.Seal("hf", 7, value)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Open("hf", 7, s); err != nil || got != value {
		t.Fatalf("%q, %v", string(got), err)
	}
	other, err := k.Seal("hf", 7, value)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(s.Ciphertext, other.Ciphertext) || bytes.Equal(s.WrappedKey, other.WrappedKey) {
		t.Error("the same value is sealed the same twice")
	}
	mixed := api.Sealed{KeyID: s.KeyID, WrappedKey: s.WrappedKey, Ciphertext: other.Ciphertext}
	foreign := s
	foreign.KeyID = key(t, 2).ID()
	claimed, err := key(t, 2).Seal("hf", 7, value)
	if err != nil {
		t.Fatal(err)
	}
	claimed.KeyID = k.ID()
	for what, c := range map[string]struct {
		name    string
		version uint64
		s       api.Sealed
		want    error
	}{
		"under another name":    {"ms", 7, s, secret.ErrDamaged},
		"of another version":    {"hf", 6, s, secret.ErrDamaged},
		"with another's key":    {"hf", 7, mixed, secret.ErrDamaged},
		"of another server":     {"hf", 7, foreign, secret.ErrOtherKey},
		"claims to be ours":     {"hf", 7, claimed, secret.ErrDamaged},
		"empty":                 {"hf", 7, api.Sealed{KeyID: k.ID()}, secret.ErrDamaged},
		"nothing at all":        {"hf", 7, api.Sealed{}, secret.ErrOtherKey},
		"name and version slip": {"hf 7", 0, s, secret.ErrDamaged},
	} {
		if got, err := k.Open(c.name, c.version, c.s); !errors.Is(err, c.want) || got != "" {
			t.Errorf("%s: %q, %v; want %v", what, string(got), err, c.want)
		}
	}
}

// TestSealed_noBitMayChange turns one bit after the other.
func TestSealed_noBitMayChange(t *testing.T) {
	k := key(t, 1)
	s, err := k.Seal("hf", 7, value)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{s.WrappedKey, s.Ciphertext} {
		for i := range b {
			bit := byte(1) << rand.N(8)
			b[i] ^= bit
			if got, err := k.Open("hf", 7, s); err == nil || strings.Contains(string(got)+err.Error(), value) {
				t.Errorf("byte %d changed: %q, %v", i, string(got), err)
			}
			b[i] ^= bit
		}
	}
	if _, err := k.Open("hf", 7, s); err != nil {
		t.Fatal(err)
	}
}

func TestSealed_showsNothing(t *testing.T) {
	k := key(t, 1)
	s, err := k.Seal("hf", 7, value)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(s)
	if err != nil || bytes.Contains(b, []byte(value)) || bytes.Contains(s.Ciphertext, []byte("canary")) {
		t.Errorf("%s, %v", b, err)
	}
	for _, verb := range []string{"%v", "%x", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, k); got != k.ID() {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	if strings.Contains(k.ID(), "0101") {
		t.Errorf("the id %s is of the key itself", k.ID())
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.key")
	if _, err := secret.Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	k := key(t, 9)
	if err := errors.Join(k.Save(path), k.Save(path)); err != nil { // also over a file that is read-only
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got, err := secret.Load(path); err != nil || got != k {
		t.Errorf("read %v, %v", got, err)
	}
	if err := os.Chmod(path, 0o440); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.Load(path); err == nil || !strings.Contains(err.Error(), "chmod 400") {
		t.Errorf("others may read it: %v", err)
	}
	for _, text := range []string{"", "abc", strings.Repeat("z", 64), strings.Repeat("0", 62)} {
		bad := filepath.Join(t.TempDir(), "bad.key")
		if err := os.WriteFile(bad, []byte(text), 0o400); err != nil {
			t.Fatal(err)
		}
		if _, err := secret.Load(bad); err == nil || !strings.Contains(err.Error(), "holds no key") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := secret.NewKey([]byte("short")); err == nil {
		t.Error("a short key is taken")
	}
}
