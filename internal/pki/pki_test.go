package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/nebula-serve/nebula/api"
)

const cluster = "c1"

func authority(t *testing.T) *CA {
	t.Helper()
	ca, err := NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func credential(t *testing.T, ca *CA, role api.MachineRole, id string, now time.Time) *Credential {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := Request(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(csr, Identity{cluster, role, id}, []string{"127.0.0.1", "host.example"}, now)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCredential("", key, cert.Raw, ca.DER())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shake makes one TLS handshake and a byte's way back, and returns what each side says about it.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	done := make(chan error, 1)
	go func() {
		raw, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		defer func() { _ = raw.Close() }()
		c := tls.Server(raw, server)
		if err = c.Handshake(); err == nil {
			_, err = c.Write([]byte("x"))
		}
		done <- err
	}()
	c, err := tls.Dial("tcp", ln.Addr().String(), client)
	if err == nil {
		_, err = c.Read(make([]byte, 1)) // what a server thinks of a client's certificate is only heard here
		_ = c.Close()
	}
	return <-done, err
}

func clock() *Clock { return NewClock(time.Now) }

// frozen is a clock that shows one time.
func frozen(at time.Time) *Clock { return NewClock(func() time.Time { return at }) }

func TestTLS_whoSpeaksToWhom(t *testing.T) {
	ca, other, now := authority(t), authority(t), time.Now()
	server := credential(t, ca, api.MachineServer, "s1", now)
	node := credential(t, ca, api.MachineNode, "n1", now)
	foreign := credential(t, other, api.MachineNode, "n1", now)
	old := credential(t, ca, api.MachineNode, "n1", now.Add(-25*time.Hour))
	// A client that trusts our authority and shows another one's certificate.
	mixed := node.ClientTLS(clock(), api.MachineServer, "")
	mixed.GetClientCertificate = foreign.ClientTLS(clock(), api.MachineServer, "").GetClientCertificate
	for name, c := range map[string]struct {
		server, client *tls.Config
		says           string // empty: they understand each other
	}{
		"machine and server":                 {server.ServerTLS(clock()), node.ClientTLS(clock(), api.MachineServer, ""), ""},
		"a certain server":                   {server.ServerTLS(clock()), node.ClientTLS(clock(), api.MachineServer, "s1"), ""},
		"another server than meant":          {server.ServerTLS(clock()), node.ClientTLS(clock(), api.MachineServer, "s2"), "reached server s1 instead of server s2"},
		"a node instead of a server":         {node.ServerTLS(clock()), node.ClientTLS(clock(), api.MachineServer, ""), "reached node n1"},
		"a server of another authority":      {foreign.ServerTLS(clock()), node.ClientTLS(clock(), api.MachineNode, "n1"), "unknown authority"},
		"a client of another authority":      {server.ServerTLS(clock()), mixed, "unknown certificate authority"},
		"a client that has run out":          {server.ServerTLS(clock()), old.ClientTLS(clock(), api.MachineServer, ""), "expired certificate"},
		"a server that has run out":          {old.ServerTLS(clock()), node.ClientTLS(clock(), api.MachineNode, ""), "set the clock, for example with NTP"},
		"a clock that is days ahead":         {server.ServerTLS(clock()), node.ClientTLS(frozen(now.Add(50*time.Hour)), api.MachineServer, ""), "set the clock"},
		"a clock of the seventies":           {server.ServerTLS(clock()), node.ClientTLS(frozen(time.Unix(0, 0)), api.MachineServer, ""), "1970-01-01T00:00:00Z"},
		"TLS 1.2":                            {server.ServerTLS(clock()), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, "protocol version"},
		"join":                               {server.WithCA(server.ServerTLS(clock())), JoinTLS(Fingerprint(ca.DER()), time.Now), ""},
		"join another cluster":               {server.WithCA(server.ServerTLS(clock())), JoinTLS(Fingerprint(other.DER()), time.Now), "not of the cluster that the token is for"},
		"join at a node":                     {node.WithCA(node.ServerTLS(clock())), JoinTLS(Fingerprint(ca.DER()), time.Now), "reached node n1"},
		"join where no authority is shown":   {server.ServerTLS(clock()), JoinTLS(Fingerprint(ca.DER()), time.Now), "not of the cluster that the token is for"},
		"join where the authority is a copy": {foreign.withCopyOf(ca), JoinTLS(Fingerprint(ca.DER()), time.Now), "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			serverErr, clientErr := shake(t, c.server, c.client)
			switch {
			case c.says == "" && (serverErr != nil || clientErr != nil):
				t.Errorf("server: %v; client: %v", serverErr, clientErr)
			case c.says != "" && clientErr == nil:
				t.Error("they understood each other")
			case c.says != "" && !strings.Contains(clientErr.Error(), c.says):
				t.Errorf("client: %v; want %q", clientErr, c.says)
			}
		})
	}
}

// withCopyOf shows an authority that has not issued the certificate: what an attacker who knows the public certificate can do.
func (c *Credential) withCopyOf(ca *CA) *tls.Config {
	t := c.ServerTLS(clock())
	t.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert := c.certificate()
		cert.Certificate = append(cert.Certificate, ca.DER())
		return cert, nil
	}
	return t
}

// stepped is a reading of the clock whose wall time was stepped, as settimeofday or NTP do: its monotonic part is what it was. Package
// time has no way to make one, so the seconds since 1885 in its first word are changed in place.
func stepped(at time.Time, step time.Duration) time.Time {
	const nanoBits, hasMonotonic = 30, 1 << 63
	wall := (*uint64)(unsafe.Pointer(&at))
	if *wall&hasMonotonic == 0 {
		panic("the reading has no monotonic part")
	}
	*wall += uint64(int64(step/time.Second) << nanoBits)
	return at
}

func TestClock_followsServersNotTheWall(t *testing.T) {
	at, step := time.Now(), time.Duration(0)
	c := NewClock(func() time.Time { return stepped(at, step) })
	if !c.Now().Equal(at) {
		t.Error("before any server is heard it does not show the machine's own time")
	}
	told := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	c.Heard(told)
	for _, step = range []time.Duration{2 * time.Hour, -24 * time.Hour, 0, 1000 * time.Hour} {
		if got := stepped(at, step); got.Round(0).Sub(at.Round(0)) != step || got.Sub(at) != 0 {
			t.Fatalf("the test's own clock is off: %s", got.Sub(at))
		}
		if got := c.Now(); !got.Equal(told) {
			t.Errorf("after a step of %s the clock shows %s", step, got)
		}
	}
	at = at.Add(10 * time.Minute) // both parts go on
	if got := c.Now().Sub(told); got != 10*time.Minute {
		t.Errorf("ten minutes later it is %s later", got)
	}
	at = at.Add(40 * time.Hour)
	if got := c.Now().Sub(told); got != time.Hour {
		t.Errorf("without a word for days it is %s later; want it to stop after an hour", got)
	}
	c.Heard(told.Add(41 * time.Hour))
	if got := c.Now().Sub(told); got != 41*time.Hour {
		t.Errorf("with a word again it is %s later", got)
	}
}

// TestClock_keepsCertificatesGood: while no server can renew certificates, none runs out.
func TestClock_keepsCertificatesGood(t *testing.T) {
	ca, at := authority(t), time.Now()
	wall := at
	c := NewClock(func() time.Time { return wall })
	c.Heard(at)
	node, server := credential(t, ca, api.MachineNode, "n1", at), credential(t, ca, api.MachineGateway, "g1", at)
	wall = at.Add(60 * time.Hour)
	if serverErr, clientErr := shake(t, node.ServerTLS(c), server.ClientTLS(c, api.MachineNode, "n1")); serverErr != nil || clientErr != nil {
		t.Errorf("60 h without servers: node: %v; gateway: %v", serverErr, clientErr)
	}
}

// TestClock_knowsWhoWasRenewedMeanwhile: a clock that has stood still refuses nobody for being new: not the servers, whom it would never hear
// again, and not a gateway that reaches them while this machine does not.
func TestClock_knowsWhoWasRenewedMeanwhile(t *testing.T) {
	ca, at := authority(t), time.Now()
	wall := at
	c := NewClock(func() time.Time { return wall })
	c.Heard(at)
	node := credential(t, ca, api.MachineNode, "n1", at)
	wall = at.Add(12 * time.Hour)
	server, gateway := credential(t, ca, api.MachineServer, "s1", wall), credential(t, ca, api.MachineGateway, "g1", wall)
	if serverErr, clientErr := shake(t, server.ServerTLS(frozen(wall)), node.ClientTLS(c, api.MachineServer, "")); serverErr != nil || clientErr != nil {
		t.Errorf("server: %v; node: %v", serverErr, clientErr)
	}
	if nodeErr, clientErr := shake(t, node.ServerTLS(c), gateway.ClientTLS(frozen(wall), api.MachineNode, "n1")); nodeErr != nil || clientErr != nil {
		t.Errorf("node: %v; gateway: %v", nodeErr, clientErr)
	}
}

func TestIssue_takesNothingButTheKey(t *testing.T) {
	ca, now := authority(t), time.Now()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{
		DNSNames: []string{"server.example"}, URIs: []*url.URL{(Identity{cluster, api.MachineServer, "s1"}).uri()},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(csr, Identity{cluster, api.MachineNode, "n1"}, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	id, err := IdentityOf(cert)
	if err != nil || id != (Identity{cluster, api.MachineNode, "n1"}) || len(cert.DNSNames) != 0 || cert.IsCA {
		t.Errorf("issued for %+v, names %v, %v", id, cert.DNSNames, err)
	}
	if life := cert.NotAfter.Sub(now); life > CertLife || life < CertLife-time.Minute {
		t.Errorf("it lives %s", life)
	}
	for name, bad := range map[string][]byte{"nothing": nil, "nonsense": []byte("x"), "cut off": csr[:len(csr)-1]} {
		if _, err := ca.Issue(bad, id, nil, now); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
	damaged := append([]byte(nil), csr...)
	damaged[len(damaged)-1] ^= 1
	if _, err := ca.Issue(damaged, id, nil, now); err == nil {
		t.Error("a request whose signature is wrong was signed")
	}
}

func TestIdentityOf_refusesWhatIsNone(t *testing.T) {
	for _, uri := range []string{
		"https://c1/node/n1", "spiffe://c1/", "spiffe://c1/node", "spiffe://c1/node/", "spiffe://c1/admin/n1", "spiffe://c1/node/n1/x", "spiffe://c1/node/..",
	} {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := IdentityOf(&x509.Certificate{URIs: []*url.URL{u}}); err == nil {
			t.Errorf("%s is %+v", uri, id)
		}
	}
	if _, err := IdentityOf(&x509.Certificate{}); err == nil {
		t.Error("a certificate without a URI has an identity")
	}
}

func TestCredential_isKeptAndRenewed(t *testing.T) {
	ca, now, dir := authority(t), time.Now(), filepath.Join(t.TempDir(), "keys")
	if _, err := LoadCredential(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none is there: %v", err)
	}
	first := credential(t, ca, api.MachineNode, "n1", now)
	c, err := NewCredential(dir, first.key, first.leaf.Load().Raw, ca.DER())
	if err != nil {
		t.Fatal(err)
	}
	if due := c.RenewAt().Sub(now); due < 16*time.Hour-time.Minute || due > 16*time.Hour {
		t.Errorf("due after %s; want two thirds of a day", due)
	}
	csr, err := c.Request()
	if err != nil {
		t.Fatal(err)
	}
	next, err := ca.Issue(csr, c.Identity(), nil, now.Add(16*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	// What is not the next certificate of this machine is not taken.
	otherID, err := ca.Issue(csr, Identity{cluster, api.MachineNode, "n2"}, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	otherCA, err := authority(t).Issue(csr, c.Identity(), nil, now)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"for another machine": otherID.Raw, "by another authority": otherCA.Raw, "for another key": credential(t, ca, api.MachineNode, "n1", now).leaf.Load().Raw, "nonsense": []byte("x"),
	} {
		if err := c.Renewed(bad); err == nil {
			t.Errorf("a certificate %s was taken", name)
		}
	}
	if err := c.Renewed(next.Raw); err != nil {
		t.Fatal(err)
	}
	kept, err := LoadCredential(dir)
	if err != nil || !kept.NotAfter().Equal(next.NotAfter) || kept.KeyHash() != c.KeyHash() || kept.Identity() != c.Identity() {
		t.Errorf("kept: %+v, %v", kept, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "machine.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}
	sig, err := c.Sign([]byte("doc"))
	if err != nil || !kept.Verify([]byte("doc"), sig) || kept.Verify([]byte("other"), sig) || first.Verify([]byte("doc"), nil) {
		t.Errorf("signature: %v", err)
	}
	for _, name := range []string{"machine.key", "machine.crt", "cluster-ca.crt"} {
		path := filepath.Join(dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"", "torn", string(good[:len(good)/2])} {
			if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := LoadCredential(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s with %q was loaded: %v", name, bad, err)
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCA_isKept(t *testing.T) {
	ca, dir := authority(t), t.TempDir()
	if _, err := LoadCA(dir, "ca"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none is there: %v", err)
	}
	if err := ca.Save(dir, "ca"); err != nil {
		t.Fatal(err)
	}
	kept, err := LoadCA(dir, "ca")
	if err != nil || Fingerprint(kept.DER()) != Fingerprint(ca.DER()) {
		t.Fatalf("kept: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}
	key, err := authority(t).KeyDER()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseCA(ca.DER(), key); err == nil {
		t.Error("another authority's key was taken")
	}
	if _, err := ParseCA(credential(t, ca, api.MachineNode, "n1", time.Now()).leaf.Load().Raw, key); err == nil {
		t.Error("a machine's certificate became an authority")
	}
}

func TestToken(t *testing.T) {
	tok := NewToken(strings.Repeat("a", 64))
	got, err := ParseToken("  " + tok.String() + "\n")
	if err != nil || got != tok || !got.Matches(tok.SecretHash()) || got.Matches("") || got.Matches(NewToken("").SecretHash()) {
		t.Errorf("%+v, %v", got, err)
	}
	if tok.ID == NewToken("").ID || strings.Contains(tok.SecretHash(), tok.Secret) || !api.KnownUID(tok.ID) {
		t.Errorf("token %+v", tok)
	}
}

// FuzzParseToken: whatever is given, what is accepted is exactly a token's form, safe as a key of the store, and the error shows none of it.
func FuzzParseToken(f *testing.F) {
	good := NewToken(strings.Repeat("0", 64)).String()
	for _, s := range []string{"", good, good + "x", good[:len(good)-1], strings.ToUpper(good), "nbj___", strings.Replace(good, "_", "/", 2), good + "\n" + good, "nb_" + strings.Repeat("x", 43)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseToken(s)
		if err != nil {
			if len(s) > 40 && strings.Contains(err.Error(), s) || !api.HasCode(err, api.CodeInvalidRequest) {
				t.Errorf("the error is %v", err)
			}
			return
		}
		if tok.String() != strings.TrimSpace(s) || !api.KnownUID(tok.ID) {
			t.Errorf("%q is %+v", s, tok)
		}
	})
}
