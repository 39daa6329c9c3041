package oidc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// authority makes a certificate authority, and a certificate of it for 127.0.0.1.
func authority(t *testing.T) (ca *x509.Certificate, own tls.Certificate) {
	t.Helper()
	now := time.Now()
	sign := func(c, by *x509.Certificate, key, with *ecdsa.PrivateKey) *x509.Certificate {
		c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(now.UnixNano()), now.Add(-time.Minute), now.Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), with)
		if err != nil {
			t.Fatal(err)
		}
		made, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	root, key := ecKey(t), ecKey(t)
	c := &x509.Certificate{Subject: pkix.Name{CommonName: "a company's own authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	ca = sign(c, c, root, root)
	leaf := sign(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, ca, key, root)
	return ca, tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestLogin_overTLS logs in at a provider whose certificate is of an authority of its own.
func TestLogin_overTLS(t *testing.T) {
	front, op := address(t), address(t)
	ca, own := authority(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", op, &tls.Config{Certificates: []tls.Certificate{own}})
	if err != nil {
		t.Fatal(err)
	}
	serveProvider(t, ln, "https://"+op, "http://"+front+callback, map[string]person{"ann": {Groups: []string{"staff"}, Verified: true}})
	n := startNebula(t, front, "https://"+op, "--oidc-ca-file", file)
	n.roots = x509.NewCertPool()
	n.roots.AddCert(ca)
	b := n.browser(t)
	if a := b.get(b.walk("ann")); a.status != http.StatusSeeOther || b.me().ID != "ann" || b.me().Role != api.RoleViewer {
		t.Errorf("%d %s", a.status, a.body)
	}
}
