package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/secret"
)

// Names of the authorities' files in a server's key directory.
const (
	clusterCA = "ca"
	etcdCA    = "etcd-ca"
)

// authority is what makes a process a server: the keys of the cluster's authority and of the one for etcd's members, the key of stored secrets,
// and the server's own credential, which it issues to itself.
type authority struct {
	ca, etcd *pki.CA
	secrets  secret.Key
	clock    *pki.Clock
}

// openAuthority reads the authorities of a data directory, and makes them when there are none: this is the first server's first start.
func openAuthority(o Options) (*authority, error) {
	a := &authority{clock: pki.NewClock(time.Now)}
	dir := o.keyDir("")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the keys: %w", err)
	}
	for _, one := range []struct {
		file, name string
		to         **pki.CA
	}{{clusterCA, "Nebula cluster authority", &a.ca}, {etcdCA, "Nebula etcd authority", &a.etcd}} {
		ca, err := pki.LoadCA(dir, one.file)
		if errors.Is(err, fs.ErrNotExist) {
			if ca, err = pki.NewCA(one.name, time.Now()); err == nil {
				err = ca.Save(dir, one.file)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("the cluster's keys in %s: %w", dir, err)
		}
		*one.to = ca
	}
	var err error
	if a.secrets, err = openSecretsKey(dir, a.ca); err != nil {
		return nil, fmt.Errorf("the cluster's keys in %s: %w", dir, err)
	}
	return a, nil
}

// credential returns the credential that this process issues to itself for a role in a cluster: that of an earlier start, renewed, or a new one.
func (a *authority) credential(o Options, role api.MachineRole, cluster string, hosts []string) (*pki.Credential, error) {
	dir := o.keyDir(role)
	want := pki.Identity{Cluster: cluster, Role: role, ID: o.NodeID}
	cred, err := pki.LoadCredential(dir)
	switch {
	case err == nil && cred.Identity() == want:
		return cred, a.renew(cred, hosts)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the credential in %s: %w", dir, err)
	}
	key, err := pki.NewKey()
	if err != nil {
		return nil, err
	}
	csr, err := pki.Request(key)
	if err != nil {
		return nil, err
	}
	cert, err := a.ca.Issue(csr, want, hosts, time.Now())
	if err != nil {
		return nil, err
	}
	return pki.NewCredential(dir, key, cert.Raw, a.ca.DER())
}

func (a *authority) renew(cred *pki.Credential, hosts []string) error {
	csr, err := cred.Request()
	if err != nil {
		return err
	}
	cert, err := a.ca.Issue(csr, cred.Identity(), hosts, time.Now())
	if err != nil {
		return err
	}
	return cred.Renewed(cert.Raw)
}

// storeFiles are a server's certificate and key for the store's members, and the authority's certificate.
type storeFiles struct{ ca, cert, key string }

// storeLife is how long a server's certificate for the store lives: it is made anew at every start.
const storeLife = 2 * 365 * 24 * time.Hour

// store writes this server's certificate for the store's members.
func (a *authority) store(o Options, hosts []string) (storeFiles, error) {
	dir := o.keyDir("")
	f := storeFiles{filepath.Join(dir, etcdCA+".crt"), filepath.Join(dir, "etcd.crt"), filepath.Join(dir, "etcd.key")}
	cert, key, err := a.etcd.IssueKey("nebula server "+o.NodeID, hosts, time.Now(), storeLife)
	if err != nil {
		return f, err
	}
	return f, pki.WriteKeyPair(f.cert, f.key, cert, key)
}

// keepRenewed renews a credential that this process issues to itself. It looks at the clock every minute, so a machine that slept is no case.
// A certificate that cannot be kept, on a full disk, is in use all the same: that ends nothing, and the next start issues another.
func (a *authority) keepRenewed(cred *pki.Credential, hosts []string, log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		tick := time.NewTicker(time.Minute)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case now := <-tick.C:
				if now.Before(cred.RenewAt()) {
					continue
				}
				if err := a.renew(cred, hosts); err != nil {
					log.Warn("this server's own certificate was not renewed in order", "valid_until", cred.NotAfter().UTC(), "error", err)
				}
			}
		}
	}
}

// advertised works out the address at which other machines reach a listener: the given one, else the listener's own, else, for one on
// every address, the address that this machine uses towards another.
func advertised(given string, ln net.Addr, towards string) (string, error) {
	if given != "" {
		if _, _, err := net.SplitHostPort(given); err != nil {
			return "", api.Errorf(api.CodeInvalidRequest, "--advertise %q is not HOST:PORT: %v", given, err)
		}
		return given, nil
	}
	a, ok := ln.(*net.TCPAddr)
	if !ok || !a.IP.IsUnspecified() {
		return ln.String(), nil
	}
	if towards == "" {
		towards = "192.0.2.1:9" // of no machine (RFC 5737): the route there is the default one
	}
	c, err := net.Dial("udp", towards) // sends nothing
	if err != nil {
		return "", api.Errorf(api.CodeInvalidRequest, "cannot work out at which address other machines reach this one (%v): give --advertise HOST:PORT", err)
	}
	defer func() { _ = c.Close() }()
	host, _, err := net.SplitHostPort(c.LocalAddr().String())
	if err != nil {
		return "", fmt.Errorf("own address: %w", err)
	}
	return net.JoinHostPort(host, fmt.Sprint(a.Port)), nil
}
