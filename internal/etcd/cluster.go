package etcd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// ClusterConfig makes the server of a store directory a member of a cluster, from its first start on: with a listener for the other
// members and one for their clients, both TLS 1.3 with certificates on both sides. Only servers of Nebula hold certificates of that
// authority. The unix socket stays, for this machine's own server. All fields are required but Init and Initial.
//
// The certificate files are read again for each connection, so they may be replaced at any time. Addresses may change between two
// starts: the member tells the others.
type ClusterConfig struct {
	Name         string `json:"name"`          // of this member: the server's id
	PeerListen   string `json:"peer_listen"`   // HOST:PORT for the other members
	PeerURL      string `json:"peer_url"`      // where they find it: https://HOST:PORT
	ClientListen string `json:"client_listen"` // HOST:PORT for the servers that the other members belong to
	ClientURL    string `json:"client_url"`    // where they find it: https://HOST:PORT
	CAFile       string `json:"ca_file"`       // PEM: the authority of all members' certificates
	CertFile     string `json:"cert_file"`     // PEM: for both listeners, and for connecting; names the hosts of both URLs
	KeyFile      string `json:"key_file"`
	// Init begins a new cluster with this member, Initial (from [Client.AddLearner]) joins one. Both mean something only while the
	// directory has no data; it is an error then when neither is there.
	Init    bool   `json:"init,omitempty"`
	Initial string `json:"initial,omitempty"`
}

func (c *ClusterConfig) check() error {
	if c.Name == "" || strings.ContainsAny(c.Name, "=,") {
		return fmt.Errorf("%q is not a usable name of a store member", c.Name)
	}
	for _, addr := range []string{c.PeerListen, c.ClientListen} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("address of the store's listener: %w; it should look like 10.0.0.1:2380", err)
		}
	}
	for _, text := range []string{c.PeerURL, c.ClientURL} {
		if u, err := url.Parse(text); err != nil || u.Scheme != "https" || u.Port() == "" || u.Hostname() == "" || u.Path != "" {
			return fmt.Errorf("%q is not an address of a store member: it should look like https://10.0.0.1:2380", text)
		}
	}
	for _, file := range []string{c.CAFile, c.CertFile, c.KeyFile} {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("certificates of the store: %w", err)
		}
	}
	return nil
}

// setup is what a parent tells its child about the server, besides the directory: the file setupFile in it. A file, and not arguments,
// since everybody can read those; and the next child after a crash finds it as the one before did.
type setup struct {
	QuotaBytes int64          `json:"quota_bytes,omitempty"`
	Cluster    *ClusterConfig `json:"cluster,omitempty"` // nil: a single member on a unix socket
	Release    Held           `json:"release,omitzero"`
}

const setupFile = "server.json"

// writeSetup replaces the setup in dir, for this user alone.
func writeSetup(dir string, s setup) error {
	if s == (setup{}) {
		if err := os.Remove(filepath.Join(dir, setupFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the store's setup: %w", err)
		}
		return nil
	}
	if err := prepare(dir); err != nil {
		return err
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = renameio.WriteFile(filepath.Join(dir, setupFile), b, 0o600, renameio.IgnoreUmask())
	}
	if err != nil {
		return fmt.Errorf("write the store's setup: %w", err)
	}
	return nil
}

func readSetup(dir string) (setup, error) {
	var s setup
	b, err := os.ReadFile(filepath.Join(dir, setupFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read the store's setup: %w", err)
	}
	return s, nil
}
