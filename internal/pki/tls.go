package pki

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// Clock is the time that certificates are checked against: the last time that a server told, moved on by this machine's monotonic
// clock. So a step of the wall clock changes nothing. It stops an hour after the last word of a server: when no server can renew
// certificates, none of them runs out, and serving goes on.
type Clock struct {
	heard atomic.Pointer[heard]
	wall  func() time.Time
}

type heard struct {
	told time.Time // by the server
	at   time.Time // by this machine, with a monotonic reading
}

// trustFor is how far beyond the last word of a server the clock runs.
const trustFor = time.Hour

// NewClock returns a clock that has heard nobody, and shows this machine's own time until it does.
func NewClock(now func() time.Time) *Clock { return &Clock{wall: now} }

// Heard takes the time that a server has told.
func (c *Clock) Heard(told time.Time) { c.heard.Store(&heard{told, c.wall()}) }

// Now is the time to check certificates against.
func (c *Clock) Now() time.Time {
	h := c.heard.Load()
	if h == nil {
		return c.wall()
	}
	return h.told.Add(min(c.wall().Sub(h.at), trustFor))
}

// ServerTLS is for listeners of machines. Who connects may show a certificate of the cluster, or none: what that allows is decided per
// route. There are no session tickets, so that a kept connection that has bytes to read is known to be dead.
func (c *Credential) ServerTLS(clock *Clock) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(c.ca)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool, Time: clock.Now,
		SessionTicketsDisabled: true,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.certificate(), nil },
	}
}

// ClientTLS is for connections to machines of the cluster. The machine must have the role and, unless it is empty, the id; under which
// address it was reached does not matter.
func (c *Credential) ClientTLS(clock *Clock, role api.MachineRole, id string) *tls.Config {
	t := pinned(c.ca, clock.Now, role, id)
	t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.certificate(), nil }
	return t
}

// pinned verifies the other side's chain by hand, because certificates of machines name identities and not addresses.
func pinned(ca *x509.Certificate, now func() time.Time, role api.MachineRole, id string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(s tls.ConnectionState) error {
			leaf := s.PeerCertificates[0]
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
				return explain(err, now())
			}
			who, err := IdentityOf(leaf)
			if err != nil {
				return err
			}
			if who.Role != role || id != "" && who.ID != id {
				return fmt.Errorf("reached %s %s instead of %s %s", who.Role, who.ID, role, id)
			}
			return nil
		},
	}
}

// explain says what to do about a certificate that is not valid at this time: nearly always a clock is wrong.
func explain(err error, now time.Time) error {
	if bad, ok := errors.AsType[x509.CertificateInvalidError](err); ok && bad.Reason == x509.Expired {
		return fmt.Errorf("this machine's clock says %s, but the other side's certificate is valid from %s to %s: set the clock, for example with NTP: %w",
			now.UTC().Format(time.RFC3339), bad.Cert.NotBefore.UTC().Format(time.RFC3339), bad.Cert.NotAfter.UTC().Format(time.RFC3339), err)
	}
	return err
}

// JoinTLS is for the first connection to a server: nothing is known of the cluster but the fingerprint of its authority, from the
// token. The server must show a chain that ends there.
func JoinTLS(fingerprint string, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(s tls.ConnectionState) error {
			at := slices.IndexFunc(s.PeerCertificates, func(c *x509.Certificate) bool {
				return subtle.ConstantTimeCompare([]byte(Fingerprint(c.Raw)), []byte(fingerprint)) == 1
			})
			if at < 0 {
				return errors.New("the server is not of the cluster that the token is for, because its certificate authority is another one: name a server of that cluster, or make a token here with: nebula token create")
			}
			return pinned(s.PeerCertificates[at], now, api.MachineServer, "").VerifyConnection(s)
		},
	}
}

// WithCA makes a listener show the authority's certificate too, which [JoinTLS] needs.
func (c *Credential) WithCA(t *tls.Config) *tls.Config {
	t = t.Clone()
	t.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert := c.certificate()
		cert.Certificate = append(cert.Certificate, c.ca.Raw)
		return cert, nil
	}
	return t
}

// Fingerprint of an authority, as tokens carry it: the SHA-256 of the certificate, hex.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
