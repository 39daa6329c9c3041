package cli

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/app"
)

const defaultServer = "http://127.0.0.1:8081"

// given is what command line and environment say of the server to talk to.
type given struct {
	server, token, caFile, context string
	// The names of flags that stand on the command line itself: they win over the environment.
	flags map[string]bool
}

// target is a server to talk to, and how.
type target struct {
	server  string
	token   string
	ca      []byte // PEM; nil = the system's authorities
	context string // from which the server is; empty = from none
}

// chooseTarget decides for command line, environment and contexts; an empty server means the one on this machine. The numbers are those of
// the guide.
//
//  1. What stands on the command line. A context and a server there exclude each other.
//  2. What is in the environment. A context on the command line is stronger.
//  3. The context: the named one, else the current one. Its credential goes to its own server and to no other.
func chooseTarget(g given, all contexts) (target, error) {
	if g.flags["server"] && g.flags["context"] {
		return target{}, usagef("--server and --context both say where the server is: give one of them")
	}
	if g.flags["context"] { // 2
		if !g.flags["token"] {
			g.token = ""
		}
		g.server = ""
	}
	name := g.context
	if name == "" && g.server == "" {
		name = all.Current
	}
	out := target{server: g.server, token: g.token}
	if name == "" {
		return out, nil
	}
	item, err := all.find(name)
	if err != nil {
		return target{}, err
	}
	if out.server == "" {
		out.server, out.context = item.Server, name
	}
	if !sameServer(out.server, item.Server) {
		return out, nil
	}
	if out.token == "" {
		out.token = string(item.Token)
	}
	if item.CA != "" {
		out.ca = []byte(item.CA)
	}
	return out, nil
}

// serverURL reads a server's address; without a scheme it is http.
func serverURL(server string) (*url.URL, error) {
	full := server
	if !strings.Contains(server, "://") {
		full = "http://" + server
	}
	u, err := url.Parse(full)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return nil, usagef("%.200q is not a server address: it should look like %s", server, defaultServer)
	}
	if u.User != nil {
		return nil, usagef("a server address has no user and no password in it: it should look like %s; log in with: nebula login", defaultServer)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

// sameServer tells whether two addresses name the same server in the same way.
func sameServer(a, b string) bool {
	x, errX := serverURL(a)
	y, errY := serverURL(b)
	return errX == nil && errY == nil && x.Scheme == y.Scheme && strings.EqualFold(x.Host, y.Host) && x.Path == y.Path
}

// options fills in the options of a command that the command line leaves open.
func (c *command) options(cmd *cobra.Command) error {
	c.fromFlags = map[string]bool{}
	for _, name := range []string{"server", "token", "context"} {
		f := cmd.Flags().Lookup(name)
		c.fromFlags[name] = f != nil && f.Changed
	}
	c.output = formatOf(cmd)
	return applyOptions(cmd.Flags(), c.env.Getenv)
}

// collectAt is how much a command's heap grows, in percent, before garbage is collected: it ends soon, and a long list is decoded without that.
const collectAt = 800

// client finds the server and the credential.
func (c *command) client() (*client.Client, error) {
	debug.SetGCPercent(collectAt)
	t, err := c.target()
	if err != nil {
		return nil, err
	}
	return c.reach(t)
}

// target is the server that the command line, the environment, the contexts or this machine's data directory name. Files that are not needed
// are not read, so that one that is broken does not stand in the way.
func (c *command) target() (target, error) {
	g := given{c.server, c.token, c.caFile, c.context, c.fromFlags}
	var all contexts
	if g.context != "" || g.server == "" {
		var err error
		if all, err = c.readContexts(); err != nil {
			return target{}, err
		}
	}
	return chooseTarget(g, all)
}

// reach completes a target with what this machine's data directory knows, and returns a client. The admin credential of that directory goes
// to this machine only.
func (c *command) reach(t target) (*client.Client, error) {
	dir, err := c.dataDir()
	if err != nil {
		return nil, err
	}
	ours := t.server == "" // the data directory itself says that its server is there
	if ours {
		t.server = cmp.Or(app.ServerAddress(dir), defaultServer)
	}
	u, err := serverURL(t.server)
	if err != nil {
		return nil, err
	}
	if t.token == "" && t.context == "" && (ours || loopback(u.Hostname())) {
		t.token, err = app.LocalToken(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return c.trusting(client.New(u.String(), ""), u, t, dir) // the server's own answer says what is missing
		case err != nil:
			return nil, err
		}
	}
	if t.token == "" {
		return nil, &api.Error{Code: api.CodeUnauthorized, Message: "a credential is needed for " + u.String() + ": run nebula login " + u.String() +
			", give --token or set NEBULA_TOKEN"}
	}
	return c.trusting(client.New(u.String(), t.token), u, t, dir)
}

// stranger returns a client without a credential, for logging in.
func (c *command) stranger(t target) (*client.Client, error) {
	dir, err := c.dataDir()
	if err != nil {
		return nil, err
	}
	u, err := serverURL(t.server)
	if err != nil {
		return nil, err
	}
	return c.trusting(client.New(u.String(), ""), u, t, dir)
}

// ownServer is the address of the server on this machine.
func (c *command) ownServer() (string, error) {
	dir, err := c.dataDir()
	return cmp.Or(app.ServerAddress(dir), defaultServer), err
}

// trusting returns the client with the transport that the server needs.
func (c *command) trusting(cl *client.Client, server *url.URL, t target, dir string) (*client.Client, error) {
	cl, err := c.trusted(cl, server, t, dir)
	if err == nil && c.env.Through != nil {
		cl = cl.Through(c.env.Through)
	}
	if err == nil {
		cl = cl.Through(func(next http.RoundTripper) http.RoundTripper { return named{next} })
	}
	return cl, err
}

// named tells servers who calls: this command line, and not an old client of version 1.
type named struct{ next http.RoundTripper }

func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", "nebula/"+version)
	return n.next.RoundTrip(r)
}

// trusted makes the client accept an https server whose authority no system knows: that of --ca-file, of the context, or the one that a
// server keeps in its data directory. Without any the system's authorities decide.
func (c *command) trusted(cl *client.Client, server *url.URL, t target, dir string) (*client.Client, error) {
	if server.Scheme != "https" {
		return cl, nil
	}
	pem, from := t.ca, "the context"
	file := c.caFile
	if file == "" && pem == nil {
		file = app.ClusterCA(dir)
	}
	if file != "" {
		var err error
		if pem, err = os.ReadFile(file); err != nil {
			return nil, usagef("read the certificate authority: %w", err)
		}
		from = file
	}
	if pem == nil {
		return cl, nil
	}
	if err := checkPEM(pem, from); err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AppendCertsFromPEM(pem)
	return cl.WithHTTP(&http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 30 * time.Second,
			DialContext:     (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}), nil
}

// checkPEM refuses what holds no certificate.
func checkPEM(pem []byte, from string) error {
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return usagef("%s holds no PEM certificate", from)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
