package auth

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAdminToken_isMadeOnceAndPrivate(t *testing.T) {
	dir := t.TempDir()
	first, created, err := AdminToken(dir)
	if err != nil || !created {
		t.Fatalf("first start: created %v, error %v", created, err)
	}
	info, err := os.Stat(filepath.Join(dir, TokenFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, error %v; want 0600", info.Mode().Perm(), err)
	}
	second, created, err := AdminToken(dir)
	if err != nil || created || second != first {
		t.Errorf("second start: %q created %v, error %v; want the first token kept", second, created, err)
	}
	other, _, err := AdminToken(t.TempDir())
	if err != nil || other == first || len(other) < 43 {
		t.Errorf("another directory got %q, error %v; want another token of 256 bits", other, err)
	}
}

func TestAdminToken_refusesWhatIsNotPrivateOrUsable(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		want    string
	}{
		"readable by all":   {strings.Repeat("x", 40), 0o644, "chmod 600"},
		"readable by group": {strings.Repeat("x", 40), 0o640, "chmod 600"},
		"empty":             {"\n", 0o600, "no usable credential"},
		"short":             {"secret", 0o600, "no usable credential"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, TokenFile)
			if err := os.WriteFile(path, []byte(c.content), c.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil { // past the umask
				t.Fatal(err)
			}
			_, _, err := AdminToken(dir)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v; want one with %q", err, c.want)
			}
			if len(c.content) > 10 && strings.Contains(err.Error(), c.content) {
				t.Error("the error shows the secret")
			}
		})
	}
}

func TestKeyring_Authenticate(t *testing.T) {
	admin, user := strings.Repeat("a", 43), strings.Repeat("b", 43)
	base := Keyring{}.With(admin, Principal{ID: "admin", Role: Admin})
	ring := base.With(user, Principal{ID: "user", Role: Inference})
	for secret, want := range map[string]string{admin: "admin", user: "user", "": "", "nobody": "", admin + " ": ""} {
		if who, ok := ring.Authenticate(secret); who.ID != want || ok != (want != "") {
			t.Errorf("Authenticate(%.3q…) = %v, %v; want %q", secret, who, ok, want)
		}
	}
	if _, ok := base.Authenticate(user); ok {
		t.Error("With changed the keyring it came from")
	}
	if _, ok := (Keyring{}).Authenticate(""); ok {
		t.Error("an empty keyring let an empty secret in")
	}
}

func TestPrincipal_May(t *testing.T) {
	for role := Public; role <= Admin; role++ {
		for need := Public; need <= Admin; need++ {
			if got := (Principal{Role: role}).May(need); got != (role >= need) {
				t.Errorf("%s may %s = %v", role, need, got)
			}
		}
	}
}
