package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// Lives of certificates.
const (
	caLife = 20 * 365 * 24 * time.Hour
	// CertLife is how long a machine's certificate lives. It is renewed after two thirds.
	CertLife = 24 * time.Hour
	// backdate is how far a clock may be behind that of the first server, when it made the authority.
	backdate = time.Hour
)

// CA issues certificates.
type CA struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes an authority with a key of its own. The name is for people.
func NewCA(name string, now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-backdate), NotAfter: now.Add(caLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make the authority: %w", err)
	}
	return &CA{cert, key}, nil
}

// ParseCA makes an authority of a certificate and a PKCS#8 key, both DER.
func ParseCA(cert, key []byte) (*CA, error) {
	c, err := x509.ParseCertificate(cert)
	if err != nil {
		return nil, fmt.Errorf("certificate of the authority: %w", err)
	}
	k, err := parseKey(key)
	if err != nil {
		return nil, fmt.Errorf("key of the authority: %w", err)
	}
	if !k.PublicKey.Equal(c.PublicKey) || !c.IsCA {
		return nil, errors.New("the authority's key and certificate do not belong together")
	}
	return &CA{c, k}, nil
}

// DER returns the authority's own certificate.
func (c *CA) DER() []byte { return c.Cert.Raw }

// KeyDER returns the key, PKCS#8: only servers hold it.
func (c *CA) KeyDER() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(c.key) }

// Derive makes a key for another purpose of the authority's own key. Who has one of them learns nothing of the other.
func (c *CA) Derive(purpose string, length int) ([]byte, error) {
	own, err := c.key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("key of the authority: %w", err)
	}
	return hkdf.Key(sha256.New, own, nil, purpose, length)
}

// Save writes NAME.crt and NAME.key into dir, the key for its owner alone.
func (c *CA) Save(dir, name string) error {
	key, err := c.KeyDER()
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, name+".key"), "PRIVATE KEY", key); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, name+".crt"), "CERTIFICATE", c.Cert.Raw)
}

// LoadCA reads what Save has written; fs.ErrNotExist (in the chain) when there is none.
func LoadCA(dir, name string) (*CA, error) {
	cert, err := readPEM(filepath.Join(dir, name+".crt"))
	if err != nil {
		return nil, err
	}
	key, err := readPEM(filepath.Join(dir, name+".key"))
	if err != nil {
		return nil, err
	}
	return ParseCA(cert, key)
}

// Issue signs a certificate for an identity and the key of a PKCS#10 request. Nothing but the key is taken from the request. Hosts are
// the names and addresses under which the machine is reached by programs that know no identities, such as people's.
//
// It is valid from the authority's own beginning on: to refuse it for its youth would protect nothing, and would shut out a machine whose
// [Clock] is behind, because no server has told it the time for hours, from all that was renewed since, the servers among it.
func (c *CA) Issue(csr []byte, id Identity, hosts []string, now time.Time) (*x509.Certificate, error) {
	req, err := x509.ParseCertificateRequest(csr)
	if err == nil {
		err = req.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if k, ok := req.PublicKey.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
		return nil, errors.New("certificate request: the key must be ECDSA P-256")
	}
	return c.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: string(id.Role) + " " + id.ID}, URIs: []*url.URL{id.uri()},
		NotBefore: c.Cert.NotBefore, NotAfter: now.Add(CertLife),
	}, hosts, req.PublicKey)
}

// IssueKey makes a key and a certificate with a common name for it: for etcd's members, which know no identities.
func (c *CA) IssueKey(commonName string, hosts []string, now time.Time, life time.Duration) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	crt, err := c.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: commonName}, NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
	}, hosts, k.Public())
	if err != nil {
		return nil, nil, err
	}
	if key, err = x509.MarshalPKCS8PrivateKey(k); err != nil {
		return nil, nil, err
	}
	return crt.Raw, key, nil
}

func (c *CA) issue(t *x509.Certificate, hosts []string, pub crypto.PublicKey) (*x509.Certificate, error) {
	t.SerialNumber = serial()
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if h != "" {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, c.Cert, pub, c.key)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// WriteKeyPair writes a certificate and its key as PEM files, for their owner alone.
func WriteKeyPair(certFile, keyFile string, cert, key []byte) error {
	if err := writePEM(keyFile, "PRIVATE KEY", key); err != nil {
		return err
	}
	return writePEM(certFile, "CERTIFICATE", cert)
}

func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails, by its documentation
	return new(big.Int).SetBytes(b)
}

func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an ECDSA key")
	}
	return key, nil
}

func writePEM(path, kind string, der []byte) error {
	b := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := renameio.WriteFile(path, b, 0o600, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func readPEM(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s is not a PEM file", path)
	}
	return block.Bytes, nil
}
