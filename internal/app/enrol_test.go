package app

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/secret"
)

// TestKeepRenewed_outlivesADiskThatTakesNothing: a server whose disk is full goes on, with a certificate that it could not keep.
func TestKeepRenewed_outlivesADiskThatTakesNothing(t *testing.T) {
	o := Options{DataDir: t.TempDir(), NodeID: "s1", Log: slog.New(slog.DiscardHandler)}
	synctest.Test(t, func(t *testing.T) {
		keys, err := openAuthority(o)
		if err != nil {
			t.Fatal(err)
		}
		cred, err := keys.credential(o, api.MachineServer, "c", nil)
		if err != nil {
			t.Fatal(err)
		}
		first := cred.NotAfter()
		if err := os.RemoveAll(o.keyDir(api.MachineServer)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- keys.keepRenewed(cred, nil, o.Log)(ctx) }()
		time.Sleep(pki.CertLife)
		select {
		case err := <-ended:
			t.Fatalf("it ended, and the process with it: %v", err)
		default:
		}
		if !cred.NotAfter().After(first) {
			t.Error("the certificate is still the first one")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestKeepJoined_cutOff: wherever the first start of a server that joins is cut off, the next one either has all that it needs, or joins anew; it
// never makes keys or an admin credential of its own.
func TestKeepJoined_cutOff(t *testing.T) {
	answer := joinAnswer(t)
	token := func(o Options) string { return filepath.Join(o.DataDir, auth.TokenFile) }
	done := func(o Options) bool {
		_, err := os.Stat(filepath.Join(o.keyDir(""), clusterCA+".crt"))
		return err == nil
	}
	files := func(o Options) []string {
		keys := o.keyDir("")
		return []string{
			token(o), filepath.Join(o.DataDir, initialFile), filepath.Join(keys, secretsKeyFile), filepath.Join(keys, etcdCA+".key"), filepath.Join(keys, etcdCA+".crt"),
			filepath.Join(keys, clusterCA+".key"), filepath.Join(keys, clusterCA+".crt"),
		}
	}
	for n := range len(files(Options{})) {
		o := Options{DataDir: t.TempDir(), NodeID: "s2", Serving: ServerOptions{Join: true}}
		if err := os.MkdirAll(o.keyDir(""), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(files(o)[n], 0o700); err != nil { // here writing ends
			t.Fatal(err)
		}
		if err := keepJoined(o, answer); err == nil {
			t.Fatalf("%s was written over a directory", files(o)[n])
		}
		if err := os.Remove(files(o)[n]); err != nil {
			t.Fatal(err)
		}
		if done(o) {
			t.Errorf("cut off at %s, the next start takes it for joined", files(o)[n])
		}
		if err := keepJoined(o, answer); err != nil {
			t.Fatal(err)
		}
		keys, err := openAuthority(o)
		if err != nil || !bytes.Equal(keys.secrets.Bytes(), answer.Server.SecretsKey) || !done(o) || !keys.ca.Cert.Equal(mustCert(t, answer.CA)) {
			t.Fatalf("after another try: %v", err)
		}
		if got, _, err := auth.AdminToken(o.DataDir); err != nil || got != answer.Server.AdminToken {
			t.Errorf("the admin credential is %q: %v", got, err)
		}
		if got := initialMembers(o); got != answer.Server.InitialCluster {
			t.Errorf("the store begins with %q", got)
		}
		if err := errors.Join(forgetInitial(o), forgetInitial(o)); err != nil || initialMembers(o) != "" {
			t.Errorf("once it serves: %q, %v", initialMembers(o), err)
		}
	}
}

// TestForgetHalfJoined: the credential of a join that was cut off does not stand in the way of the next one.
func TestForgetHalfJoined(t *testing.T) {
	o := Options{DataDir: t.TempDir(), NodeID: "s2"}
	keys, err := openAuthority(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.credential(o, api.MachineServer, "c", nil); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(forgetHalfJoined(o), forgetHalfJoined(o)); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.LoadCredential(o.keyDir(api.MachineServer)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the credential is still there: %v", err)
	}
}

func joinAnswer(t *testing.T) api.JoinResponse {
	t.Helper()
	keys, err := openAuthority(Options{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ca, err1 := keys.ca.KeyDER()
	store, err2 := keys.etcd.KeyDER()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return api.JoinResponse{CA: keys.ca.DER(), Server: &api.JoinServer{
		SecretsKey: bytes.Repeat([]byte{7}, secret.KeyBytes),
		CAKey:      ca, EtcdCA: keys.etcd.DER(), EtcdCAKey: store, AdminToken: "nba_0123456789abcdef0123456789abcdef", InitialCluster: "s1=https://10.0.0.1:2380",
	}}
}

func mustCert(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
