package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/app"
)

const defaultDirHelp = "$XDG_DATA_HOME/nebula or ~/.local/share/nebula"

// alsoEnv marks a flag that other tools' variables set too.
const alsoEnv = "also-env"

// applyOptions fills in what the command line left open. Every flag is an option: --listen is NEBULA_LISTEN in the environment and
// listen in the file; the command line wins over the environment, and that over the file.
func applyOptions(flags *pflag.FlagSet, getenv func(string) string) error {
	file, err := readOptionFile(flags, getenv)
	if err != nil {
		return err
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" {
			return
		}
		value, from := getenv(envName(f.Name)), envName(f.Name)
		for _, name := range f.Annotations[alsoEnv] {
			if value == "" {
				value, from = getenv(name), name
			}
		}
		if v, ok := file[f.Name]; ok && value == "" {
			value, from = optionText(v), "the option file"
		}
		if value == "" {
			return
		}
		if e := flags.Set(f.Name, value); e != nil {
			err = errors.Join(err, usagef("%s from %s: %w", f.Name, from, e))
		}
	})
	return err
}

// optionText is a value of the option file as the command line would have it: a list is joined by commas.
func optionText(v any) string {
	list, ok := v.([]any)
	if !ok {
		return fmt.Sprint(v)
	}
	var parts []string
	for _, item := range list {
		parts = append(parts, fmt.Sprint(item))
	}
	return strings.Join(parts, ",")
}

func envName(flag string) string {
	return "NEBULA_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func readOptionFile(flags *pflag.FlagSet, getenv func(string) string) (map[string]any, error) {
	path, _ := flags.GetString("config") // absent only in commands without options
	if path == "" {
		path = getenv(envName("config"))
	}
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, usagef("read the option file: %w", err)
	}
	out := map[string]any{}
	if err := yaml.UnmarshalStrict(b, &out); err != nil {
		return nil, usagef("the option file %s is not valid YAML: %w", path, err)
	}
	return out, nil
}

// dataDir is where Nebula keeps its data on this machine.
func (c *command) dataDir() (string, error) {
	dir := c.dir
	if dir == "" {
		base := c.env.Getenv("XDG_DATA_HOME")
		if base == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", fmt.Errorf("find the data directory: %w; name one with --data-dir", err)
			}
			base = filepath.Join(home, ".local", "share")
		}
		dir = filepath.Join(base, "nebula")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the data directory: %w", err)
	}
	return abs, nil
}

const defaultServer = "http://127.0.0.1:8081"

// client finds the server and the credential. The admin credential of this machine's data directory goes to this machine only.
func (c *command) client() (*client.Client, error) {
	dir, err := c.dataDir()
	if err != nil {
		return nil, err
	}
	server, ours := c.server, false // ours: the data directory itself says that its server is there
	if server == "" {
		ours = true
		if server = app.ServerAddress(dir); server == "" {
			server = defaultServer
		}
	}
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usagef("%q is not a server address: it should look like %s", c.server, defaultServer)
	}
	token := c.token
	if token == "" && (ours || loopback(u.Hostname())) {
		token, err = app.LocalToken(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return c.trusting(client.New(server, ""), u, dir) // the server's own answer says what is missing
		case err != nil:
			return nil, err
		}
	}
	if token == "" {
		return nil, &api.Error{Code: api.CodeUnauthorized, Message: "a credential is needed for " + server + ": give --token or set NEBULA_TOKEN"}
	}
	return c.trusting(client.New(server, token), u, dir)
}

// trusting makes the client accept an https server of the cluster, whose authority no system knows: that of --ca-file, or the one that a server
// keeps in its data directory. Without either the system's authorities decide.
func (c *command) trusting(cl *client.Client, server *url.URL, dir string) (*client.Client, error) {
	if server.Scheme != "https" {
		return cl, nil
	}
	file := c.caFile
	if file == "" {
		file = app.ClusterCA(dir)
	}
	if file == "" {
		return cl, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, usagef("read the certificate authority: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, usagef("%s holds no PEM certificate", file)
	}
	return cl.WithHTTP(&http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 30 * time.Second,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
