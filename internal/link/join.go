package link

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/pki"
)

const (
	// joinTimeout bounds a whole attempt to join: a new server waits there for the cluster's store to take it in.
	joinTimeout = time.Minute
	maxJoin     = 1 << 20 // bytes of the answer
)

// JoinConfig says who wants to join what.
type JoinConfig struct {
	Server string // host:port of the fleet port of any server
	Token  string // as people carry it; not needed by a machine that has a credential already
	Role   api.MachineRole
	ID     string
	Dir    string // where the credential is kept
	// Addr and PeerURL are those of api.JoinRequest, for servers.
	Addr    string
	PeerURL string
	Clock   *pki.Clock // learns the server's time
}

// Join returns the credential that is kept in the directory, or gets the machine its first one for a join token. A credential that has run
// out is replaced when there is a token; without one it is returned all the same, because a machine serves on as well as it can. Of a machine
// that had joined before the response holds only what the credential says and the server that was named.
//
// The errors are for people: CodeUnavailable when no server was reached, CodeUnauthorized when the token is of no use, CodeConflict when the
// name is taken or the directory is another machine's.
func Join(ctx context.Context, cfg JoinConfig) (*pki.Credential, api.JoinResponse, error) {
	switch cred, err := kept(cfg); {
	case err != nil:
		return nil, api.JoinResponse{}, err
	case cred != nil:
		res := api.JoinResponse{ClusterID: cred.Identity().Cluster, CA: cred.CA()}
		if cfg.Server != "" {
			res.Servers = []string{hostPort(cfg.Server)}
		}
		return cred, res, nil
	}
	token, err := checkJoin(cfg)
	if err != nil {
		return nil, api.JoinResponse{}, err
	}
	key, err := pki.NewKey()
	if err != nil {
		return nil, api.JoinResponse{}, err
	}
	res, err := ask(ctx, cfg, token, key)
	if err != nil {
		return nil, api.JoinResponse{}, err
	}
	cred, err := pki.NewCredential(cfg.Dir, key, res.Cert, res.CA)
	if err != nil {
		return nil, api.JoinResponse{}, api.Errorf(api.CodeInternal,
			"the cluster took this machine in, but its credential cannot be kept in %s (%v): repair that, and join again with a token from: nebula token create --for %s --name %s",
			cfg.Dir, err, cfg.Role, cfg.ID)
	}
	return cred, res, nil
}

// kept returns the credential of an earlier join; nil when there is none, or one that has run out while there is a token for another.
func kept(cfg JoinConfig) (*pki.Credential, error) {
	cred, err := pki.LoadCredential(cfg.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil && cfg.Token != "":
		return nil, nil // the new one takes its place
	case err != nil:
		return nil, api.Errorf(api.CodeConflict, "the credential in %s cannot be used (%v): give --token to replace it, with a token from: nebula token create --for %s --name %s",
			cfg.Dir, err, cfg.Role, cfg.ID)
	}
	if id := cred.Identity(); id.Role != cfg.Role || id.ID != cfg.ID {
		return nil, api.Errorf(api.CodeConflict, "%s holds the credential of %s %s, and this is to be %s %s: start it under its old name, or with another --data-dir",
			cfg.Dir, id.Role, id.ID, cfg.Role, cfg.ID)
	}
	if cfg.Token != "" && cfg.Clock.Now().After(cred.NotAfter()) {
		return nil, nil
	}
	return cred, nil
}

func checkJoin(cfg JoinConfig) (pki.Token, error) {
	if cfg.Token == "" {
		return pki.Token{}, api.Errorf(api.CodeUnauthorized, "this machine has no credential yet: give --token, with a token from: nebula token create --for %s", cfg.Role)
	}
	if host, port, err := net.SplitHostPort(hostPort(cfg.Server)); err != nil || host == "" || port == "" {
		return pki.Token{}, api.Errorf(api.CodeInvalidRequest, "%.200q is not the address of a server's fleet port: --server wants HOST:PORT", cfg.Server)
	}
	return pki.ParseToken(cfg.Token)
}

func hostPort(server string) string {
	return strings.TrimSuffix(strings.TrimPrefix(server, "https://"), "/")
}

// ask sends the request over a connection that is known to lead to the token's cluster, so that nobody else gets to see the token.
func ask(ctx context.Context, cfg JoinConfig, token pki.Token, key *ecdsa.PrivateKey) (api.JoinResponse, error) {
	var out api.JoinResponse
	csr, err := pki.Request(key)
	if err != nil {
		return out, err
	}
	body, err := json.Marshal(api.JoinRequest{Token: token.String(), Role: cfg.Role, ID: cfg.ID, CSR: csr, Addr: cfg.Addr, PeerURL: cfg.PeerURL})
	if err != nil {
		return out, err
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+hostPort(cfg.Server)+"/api/v2/join", bytes.NewReader(body))
	if err != nil {
		return out, api.Errorf(api.CodeInvalidRequest, "%.200q is not the address of a server's fleet port: --server wants HOST:PORT", cfg.Server)
	}
	req.Header.Set("Content-Type", "application/json")
	tr := &http.Transport{
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig: pki.JoinTLS(token.Fingerprint, cfg.Clock.Now), ForceAttemptHTTP2: true,
	}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(req) // no redirects: the token is for this server
	if err != nil {
		return out, unreachable(cfg.Server, err)
	}
	defer func() { _ = res.Body.Close() }()
	if told, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		cfg.Clock.Heard(told)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxJoin))
	if err != nil {
		return out, api.Errorf(api.CodeUnavailable, "the answer of %s broke off (%v), and the token may be used up: make another with: nebula token create --for %s --name %s",
			cfg.Server, err, cfg.Role, cfg.ID)
	}
	if res.StatusCode != http.StatusOK {
		return out, refusal(cfg.Server, res.Status, b)
	}
	if err := json.Unmarshal(b, &out); err != nil || pki.Fingerprint(out.CA) != token.Fingerprint {
		return out, api.Errorf(api.CodeUpstream, "the answer of %s is not one of a Nebula server of this cluster: is it of another version?", cfg.Server)
	}
	if len(out.Servers) == 0 {
		out.Servers = []string{hostPort(cfg.Server)}
	}
	return out, nil
}

// refusal is what the server says, or that something other than Nebula has answered.
func refusal(server, status string, body []byte) error {
	var e api.Envelope
	if err := json.Unmarshal(body, &e); err != nil || e.Error.Code == "" {
		return api.Errorf(api.CodeUpstream, "%s answered %.60q and is no Nebula server: name a server's fleet port with --server", server, status)
	}
	return &e.Error
}

// unreachable says why there is no connection, and what to look at.
func unreachable(server string, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || strings.Contains(err.Error(), "server gave HTTP response") {
		return api.Errorf(api.CodeUnavailable, "%s does not speak TLS: name the server's fleet port, the one of its --fleet-listen, with --server", server)
	}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() || errors.As(err, new(*net.OpError)) {
		return api.Errorf(api.CodeUnavailable, "no server answers at %s (%v): check --server and the way there, and that the server runs with --fleet-listen on that port", server, err)
	}
	return api.Errorf(api.CodeUnavailable, "cannot join through %s: %v", server, err)
}
