package app

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/secret"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// authorities copies the cluster's authorities to another server, as versions before secrets have let servers join.
func authorities(t *testing.T, from, to Options) {
	t.Helper()
	if err := os.MkdirAll(to.keyDir(""), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{clusterCA + ".crt", clusterCA + ".key", etcdCA + ".crt", etcdCA + ".key"} {
		b, err := os.ReadFile(filepath.Join(from.keyDir(""), name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to.keyDir(""), name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func opened(t *testing.T, o Options) *authority {
	t.Helper()
	a, err := openAuthority(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestSecretsKey_ofAnOlderCluster: its servers have never told each other a key, and have the same one all the same; another cluster has another.
func TestSecretsKey_ofAnOlderCluster(t *testing.T) {
	one, two, other := Options{DataDir: t.TempDir()}, Options{DataDir: t.TempDir()}, Options{DataDir: t.TempDir()}
	first := opened(t, one)
	path := filepath.Join(one.keyDir(""), secretsKeyFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("the key's file: %v, %v", info, err)
	}
	authorities(t, one, two)
	if second := opened(t, two); second.secrets != first.secrets {
		t.Errorf("two servers of a cluster have the keys %v and %v", first.secrets, second.secrets)
	}
	if again := opened(t, one); again.secrets != first.secrets {
		t.Error("the next start has another key")
	}
	if strange := opened(t, other); strange.secrets == first.secrets {
		t.Error("another cluster has the same key")
	}
	key, err := first.ca.KeyDER()
	if err != nil || bytes.Contains(key, first.secrets.Bytes()) {
		t.Errorf("the key is the authority's own: %v", err)
	}
	// What a server finds counts, so that people can give a cluster another key.
	replaced, err := secret.NewKey(bytes.Repeat([]byte{3}, secret.KeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	if err := replaced.Save(path); err != nil {
		t.Fatal(err)
	}
	if again := opened(t, one); again.secrets != replaced {
		t.Error("a key that people have put there is not used")
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := openAuthority(one); err == nil || !strings.Contains(err.Error(), "chmod 400") {
		t.Errorf("a key that everybody can read: %v", err)
	}
}

// TestKeepSecretsKey: a server that joins takes the cluster's key, and keeps none of a cluster that it was in before.
func TestKeepSecretsKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, secretsKeyFile)
	told := bytes.Repeat([]byte{7}, secret.KeyBytes)
	for range 2 {
		if err := keepSecretsKey(dir, told); err != nil {
			t.Fatal(err)
		}
		if k, err := secret.Load(path); err != nil || !bytes.Equal(k.Bytes(), told) {
			t.Errorf("kept %v, %v", k, err)
		}
	}
	if err := keepSecretsKey(dir, []byte("short")); err == nil {
		t.Error("a key that is none was kept")
	}
	for range 2 { // joined through a server that knows no secrets
		if err := keepSecretsKey(dir, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("the key of another cluster is still there: %v", err)
		}
	}
}

// TestOpenSecret_saysWhatToDo when a server has another key, or what is stored was tampered with.
func TestOpenSecret_saysWhatToDo(t *testing.T) {
	const planted = "hf_canary0123456789"
	o := Options{DataDir: t.TempDir()}
	mine, strange := opened(t, o), opened(t, Options{DataDir: t.TempDir()})
	sealed, err := mine.secrets.Seal("hf", 1, planted)
	if err != nil {
		t.Fatal(err)
	}
	open := func(a *authority, s api.Secret) (api.Token, error) { return a.openSecret(o.keyDir(""))(s) }
	if got, err := open(mine, api.Secret{Name: "hf", Version: 1, Sealed: sealed}); err != nil || got != planted {
		t.Errorf("%q, %v", string(got), err)
	}
	_, err = open(strange, api.Secret{Name: "hf", Version: 1, Sealed: sealed})
	for _, want := range []string{mine.secrets.ID(), strange.secrets.ID(), secretsKeyFile, o.keyDir(""), "nebula secret set hf"} {
		if !api.HasCode(err, api.CodeUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("with another key: %v; want %q", err, want)
		}
	}
	for what, s := range map[string]api.Secret{
		"another name": {Name: "ms", Version: 1, Sealed: sealed}, "an older value": {Name: "hf", Version: 2, Sealed: sealed},
	} {
		if _, err := open(mine, s); !api.HasCode(err, api.CodeUnavailable) || !strings.Contains(err.Error(), "nebula secret set "+s.Name) {
			t.Errorf("%s: %v", what, err)
		}
	}

	kv := storetest.NewMem()
	st, err := store.Open(t.Context(), kv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = st.Run(t.Context()) }()
	if _, err := st.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
		return store.Secrets.Put(tx, "hf", api.Secret{Name: "hf", Version: 1, Sealed: sealed})
	}); err != nil {
		t.Fatal(err)
	}
	s, _ := st.Current()
	for a, want := range map[*authority]bool{mine: false, strange: true} {
		var log strings.Builder
		a.warnOfSecrets(s, o.keyDir(""), slog.New(slog.NewTextHandler(&log, nil)))
		if warned := strings.Contains(log.String(), "cannot open some stored secrets"); warned != want || strings.Contains(log.String(), planted) {
			t.Errorf("warned %v, want %v: %s", warned, want, log.String())
		}
	}
}

// TestDerive: the keys of two purposes, and of two authorities, have nothing in common.
func TestDerive(t *testing.T) {
	a, b := opened(t, Options{DataDir: t.TempDir()}).ca, opened(t, Options{DataDir: t.TempDir()}).ca
	derive := func(ca *pki.CA, purpose string) string {
		k, err := ca.Derive(purpose, 32)
		if err != nil || len(k) != 32 {
			t.Fatal(err)
		}
		return string(k)
	}
	first := derive(a, "x")
	if first != derive(a, "x") || first == derive(a, "y") || first == derive(b, "x") {
		t.Error("derived keys do not depend on authority and purpose, and on nothing else")
	}
}
