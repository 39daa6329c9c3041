package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// Credential is a machine's own key with its certificate, which is replaced while in use. All methods are for any goroutine.
type Credential struct {
	dir  string // where it is kept; empty: nowhere
	key  *ecdsa.PrivateKey
	ca   *x509.Certificate
	leaf atomic.Pointer[x509.Certificate]
	id   Identity
}

// NewKey makes the key of a credential to be.
func NewKey() (*ecdsa.PrivateKey, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return k, nil
}

// Request makes a PKCS#10 request, DER, for a key.
func Request(key *ecdsa.PrivateKey) ([]byte, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return csr, nil
}

// NewCredential makes a credential of a key, its certificate and the authority's, both DER. It checks that they belong together, and
// keeps them in dir, unless that is empty.
func NewCredential(dir string, key *ecdsa.PrivateKey, cert, ca []byte) (*Credential, error) {
	root, err := x509.ParseCertificate(ca)
	if err != nil {
		return nil, fmt.Errorf("certificate of the cluster's authority: %w", err)
	}
	c := &Credential{dir: dir, key: key, ca: root}
	leaf, err := c.check(cert)
	if err != nil {
		return nil, err
	}
	if c.id, err = IdentityOf(leaf); err != nil {
		return nil, err
	}
	c.leaf.Store(leaf)
	if dir == "" {
		return c, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the credential: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	// The certificate comes last: without it there is no credential, and joining begins anew.
	return c, errors.Join(
		writePEM(filepath.Join(dir, "machine.key"), "PRIVATE KEY", der),
		writePEM(filepath.Join(dir, "cluster-ca.crt"), "CERTIFICATE", root.Raw),
		writePEM(filepath.Join(dir, "machine.crt"), "CERTIFICATE", leaf.Raw),
	)
}

// LoadCredential reads a credential that is kept in dir; fs.ErrNotExist (in the chain) when there is none.
func LoadCredential(dir string) (*Credential, error) {
	cert, err := readPEM(filepath.Join(dir, "machine.crt"))
	if err != nil {
		return nil, err
	}
	ca, err := readPEM(filepath.Join(dir, "cluster-ca.crt"))
	if err != nil {
		return nil, err
	}
	der, err := readPEM(filepath.Join(dir, "machine.key"))
	if err != nil {
		return nil, err
	}
	key, err := parseKey(der)
	if err != nil {
		return nil, fmt.Errorf("key of this machine: %w", err)
	}
	c, err := NewCredential("", key, cert, ca)
	if err != nil {
		return nil, err
	}
	c.dir = dir
	return c, nil
}

// check parses a certificate for this credential's key by its authority. Its dates are not looked at: that is for whoever is shown it.
func (c *Credential) check(cert []byte) (*x509.Certificate, error) {
	leaf, err := x509.ParseCertificate(cert)
	if err != nil {
		return nil, fmt.Errorf("certificate of this machine: %w", err)
	}
	if err := leaf.CheckSignatureFrom(c.ca); err != nil {
		return nil, fmt.Errorf("certificate of this machine is not the cluster's: %w", err)
	}
	if !c.key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("certificate and key of this machine do not belong together")
	}
	return leaf, nil
}

// Renewed takes the next certificate into use.
func (c *Credential) Renewed(cert []byte) error {
	leaf, err := c.check(cert)
	if err != nil {
		return err
	}
	id, err := IdentityOf(leaf)
	if err != nil {
		return err
	}
	if id != c.id {
		return fmt.Errorf("the new certificate is for %s %s, not for %s %s", id.Role, id.ID, c.id.Role, c.id.ID)
	}
	c.leaf.Store(leaf)
	if c.dir == "" {
		return nil
	}
	return writePEM(filepath.Join(c.dir, "machine.crt"), "CERTIFICATE", leaf.Raw)
}

// Identity is who the credential speaks for.
func (c *Credential) Identity() Identity { return c.id }

// KeyHash is api.Member.KeyHash of this credential.
func (c *Credential) KeyHash() string { return KeyHash(c.leaf.Load()) }

// CA is the authority's certificate, DER.
func (c *Credential) CA() []byte { return c.ca.Raw }

// Request makes the request for the next certificate.
func (c *Credential) Request() ([]byte, error) { return Request(c.key) }

// RenewAt is when the next certificate is due: after two thirds of the life of this one.
func (c *Credential) RenewAt() time.Time {
	return c.leaf.Load().NotAfter.Add(-CertLife / 3)
}

// NotAfter is when the present certificate ends.
func (c *Credential) NotAfter() time.Time { return c.leaf.Load().NotAfter }

// Sign signs a document with the machine's key, so that a snapshot on this machine's disk can be told from one that was damaged or
// that somebody else put there.
func (c *Credential) Sign(doc []byte) ([]byte, error) {
	sum := sha256.Sum256(doc)
	sig, err := ecdsa.SignASN1(rand.Reader, c.key, sum[:])
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return sig, nil
}

// Verify tells whether Sign made the signature.
func (c *Credential) Verify(doc, signature []byte) bool {
	sum := sha256.Sum256(doc)
	return ecdsa.VerifyASN1(&c.key.PublicKey, sum[:], signature)
}

func (c *Credential) certificate() *tls.Certificate {
	leaf := c.leaf.Load()
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: c.key, Leaf: leaf}
}
