package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nebula-serve/nebula/internal/app"
)

// runner is a command that runs a process for long: its options, and what they need before the app gets them.
type runner struct {
	c *command
	o app.Options

	logLevel, logFormat string
	joinTokenFile       string
	hubs                hubOptions
	login               loginOptions
	proxies             []string
	stands              []string // daemons of the existing Nebula
}

// perAddress is how many connections one address may hold at once, so that no single stranger can take all that a process may open. A busy program
// in front of /v1 needs some hundreds; browsers need six.
const perAddress = 1024

const exitConflict = 4

// role is one way to run Nebula.
type role func(context.Context, app.Options) error

// run is the RunE of all of them.
func (r *runner) run(start role) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		log, err := r.c.logger(r.logLevel, r.logFormat)
		if err != nil {
			return err
		}
		if r.o.DataDir, err = r.c.dataDir(); err != nil {
			return err
		}
		if r.o.Exe, err = os.Executable(); err != nil {
			return fmt.Errorf("find nebula's own program file: %w", err)
		}
		if err := r.readHubs(cmd.Flags(), r.c.env.Getenv); err != nil {
			return err
		}
		// Prune goes by them, too, so they count without --cache-gc.
		if e := r.o.Running.Evict; cmd.Flags().Lookup("cache-low") != nil && (e.Low <= 0 || e.Low > e.High || e.High > 100) {
			return usagef("--cache-low (%g) and --cache-high (%g) are percentages of the disk, the low one not above the high one", e.Low, e.High)
		}
		r.sayOld(cmd.Flags(), r.c.env.Getenv, log)
		r.o.Token, r.o.AuthTokens = r.c.token, oldTokens(r.c.env.Getenv)
		if r.joinTokenFile != "" {
			if r.o.Token, err = readSecret(r.joinTokenFile); err != nil {
				return err
			}
		}
		if err := r.readLogin(); err != nil {
			return err
		}
		if err := r.readDoor(); err != nil {
			return err
		}
		r.o.Log, r.o.Version, r.o.Started = log, ownVersion(), r.started
		err = start(cmd.Context(), r.o)
		if held, ok := errors.AsType[*app.InUseError](err); ok {
			fmt.Fprintln(r.c.env.Stderr, "Error:", held)
			return &quiet{exitConflict}
		}
		return err
	}
}

// started tells people where the process is.
func (r *runner) started(info app.Info) {
	w := r.c.env.Stderr
	if info.TokenCreated {
		fmt.Fprintf(w, "Admin credential written to %s (only you can read it).\n", info.TokenFile)
	}
	if info.URL != "" {
		fmt.Fprintf(w, "Nebula is up at %s (OpenAI API at %s/v1). Ctrl-C stops it.\n", info.URL, info.URL)
	}
	if info.SetupToken != "" && info.URL != "" {
		fmt.Fprintf(w, "There is no user yet. Make the first administrator within 15 minutes, here in a browser:\n  %s\n"+
			"or on this machine with: nebula setup --name NAME\n", info.SetupLink())
	}
	if info.FleetAddr != "" {
		fmt.Fprintf(w, "Machines join at https://%s, each with a token of: nebula token create\n", info.FleetAddr)
	}
	if info.NodeAddr != "" {
		fmt.Fprintf(w, "Node %s serves its engines to gateways at %s. Ctrl-C stops it%s.\n", info.NodeID, info.NodeAddr, r.afterwards())
	}
}

// afterwards says what becomes of a node's engines.
func (r *runner) afterwards() string {
	if r.o.Running.KeepEngines {
		return "; its engines serve on"
	}
	return " and its engines"
}

func (c *command) upCommand() *cobra.Command {
	r := &runner{c: c}
	cmd := &cobra.Command{
		Use: "up", Short: "Run all of Nebula on this machine, until Ctrl-C",
		Long: "Run the API, the OpenAI-compatible endpoint, the scheduler, the node agent and the store in one go, on one port.\n\n" +
			"It needs no configuration. Data is kept in the data directory, and so is admin.token, the credential that the other commands on\n" +
			"this machine find by themselves. With --fleet-listen other machines can join. Every flag may also be set as NEBULA_NAME in the\n" +
			"environment or name: value in the file of --config.",
		Args: exactly(0, "no argument"), RunE: r.run(app.Up),
	}
	f := cmd.Flags()
	r.common(f)
	r.people(f, "127.0.0.1:8081", "NEBULA_GATEWAY_ADDR", "NEBULA_BFF_ADDR")
	r.openID(f)
	r.fleet(f, "")
	f.StringVar(&r.o.Running.NodeListen, "node-listen", "", "where gateways on other machines reach this machine's engines, for example 0.0.0.0:8083 (default: nowhere)")
	r.engines(f)
	f.BoolVar(&r.o.Running.KeepEngines, "keep-engines", false, "on Ctrl-C leave the engines running for the next start")
	r.old(f, oldBFF, oldGateway, oldRouter, oldScheduler, oldNode)
	return cmd
}

func (c *command) serverCommand() *cobra.Command {
	r := &runner{c: c}
	var join string
	cmd := &cobra.Command{
		Use: "server", Short: "Run a server: API, scheduler, gateway and store, but no engines",
		Long: "Run a server of a fleet. Nodes connect to it at --fleet-listen; people call it at --listen.\n\n" +
			"The first server of three is started with --cluster-init, the others with --join and a token of\n" +
			"\"nebula token create --for server\". One server alone needs neither. With --etcd-endpoints the state is in an etcd that you run.",
		Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if join != "" && r.o.Serving.ClusterInit {
				return usagef("--cluster-init is for the first server, --join for the others: give one of them")
			}
			if slices.ContainsFunc(r.o.Serving.External.Endpoints, func(e string) bool { return strings.Contains(e, "@") }) {
				return usagef("--etcd-endpoints has a user or a password in an address: etcd knows this server by --etcd-cert and --etcd-key")
			}
			if r.o.Serving.ClusterInit && len(r.o.Serving.External.Endpoints) > 0 {
				return usagef("--cluster-init is about the store inside Nebula, --etcd-endpoints about one of yours: give one of them")
			}
			if join != "" {
				servers, err := splitServers(join)
				if err != nil {
					return err
				}
				r.o.Serving.Join, r.o.Servers = true, servers
			}
			return r.run(app.Server)(cmd, args)
		},
	}
	f := cmd.Flags()
	r.common(f)
	r.people(f, "127.0.0.1:8081", "NEBULA_GATEWAY_ADDR", "NEBULA_BFF_ADDR")
	r.openID(f)
	r.searches(f)
	r.fleet(f, "0.0.0.0:8443")
	s := &r.o.Serving
	f.BoolVar(&s.ClusterInit, "cluster-init", false, "this is the first of several servers: others can join its store")
	f.StringVar(&join, "join", "", "address of a server whose cluster this one joins, for example https://10.0.0.1:8443")
	r.token(f)
	f.StringVar(&s.EtcdListen, "etcd-listen", "", "HOST:PORT for the other servers' stores; the port above is used too (default: the fleet's host and port 2380)")
	f.StringSliceVar(&s.External.Endpoints, "etcd-endpoints", nil, "an etcd of yours (3.5 or newer), for example https://10.0.0.9:2379,…")
	f.StringVar(&s.External.CA, "etcd-ca", "", "certificate authority of that etcd, a PEM file")
	f.StringVar(&s.External.Cert, "etcd-cert", "", "certificate for that etcd, a PEM file")
	f.StringVar(&s.External.Key, "etcd-key", "", "key of that certificate, a PEM file")
	f.Int64Var(&s.QuotaBytes, "etcd-quota", 0, "bytes at which the embedded store takes no more writes (default 4 GiB)")
	_ = f.SetAnnotation("etcd-endpoints", alsoEnv, []string{"ETCD_ENDPOINT"}) // it was just made: it cannot fail
	r.old(f, oldBFF, oldGateway, oldRouter, oldScheduler)
	return cmd
}

// asNode makes "nebula node" itself run a node; its subcommands look after nodes.
func (c *command) asNode(cmd *cobra.Command) *cobra.Command {
	r := &runner{c: c}
	cmd.Use, cmd.Short = "node", "Run a node that runs engines; its subcommands look after nodes"
	cmd.Long = "Run the node agent of this machine, until Ctrl-C. It joins the cluster of --server with a token of \"nebula token create --for node\",\n" +
		"which is needed once. Its engines serve on when it ends, and the next start takes them over; --stop-engines ends them."
	stopEngines := false
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := r.servers(); err != nil {
			return err
		}
		r.o.Running.KeepEngines = !stopEngines
		return r.run(app.Node)(cmd, args)
	}
	f := cmd.Flags()
	r.common(f)
	f.StringVar(&r.o.Running.NodeListen, "listen", "0.0.0.0:8083", "where gateways reach this machine's engines, with TLS")
	f.StringVar(&r.o.Running.Advertise, "advertise", "", "HOST:PORT at which they reach it (default: worked out)")
	r.token(f)
	r.engines(f)
	f.BoolVar(&stopEngines, "stop-engines", false, "on Ctrl-C end the engines too")
	r.old(f, oldNode, oldApart)
	return cmd
}

func (c *command) gatewayCommand() *cobra.Command {
	r := &runner{c: c}
	cmd := &cobra.Command{
		Use: "gateway", Short: "Run a gateway alone: the OpenAI-compatible endpoint of a cluster",
		Long: "Run a gateway for the cluster of --server, which it joins with a token of \"nebula token create --for gateway\". It serves on, and can\n" +
			"be started again, while no server answers.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := r.servers(); err != nil {
				return err
			}
			return r.run(app.Gateway)(cmd, args)
		},
	}
	f := cmd.Flags()
	r.common(f)
	r.people(f, "127.0.0.1:8080", "NEBULA_GATEWAY_ADDR")
	r.token(f)
	r.old(f, oldGateway, oldRouter, oldApart)
	cmd.AddCommand(c.gatewayStats())
	return cmd
}

// servers takes the cluster's servers from --server, which may name several.
func (r *runner) servers() error {
	servers, err := splitServers(r.c.server)
	if err != nil {
		return err
	}
	r.o.Servers = servers
	return nil
}

func (r *runner) common(f *pflag.FlagSet) {
	f.StringVar(&r.o.NodeID, "node-id", "", "name of this machine in the cluster (default: its host name)")
	f.StringVar(&r.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&r.logFormat, "log-format", "auto", "text, json, or auto: text on a terminal")
}

// people adds the options of the listener for people; env are the existing Nebula's variables for its address.
func (r *runner) people(f *pflag.FlagSet, listen string, env ...string) {
	f.StringVar(&r.o.Listen, "listen", listen, "address for the API and /v1")
	_ = f.SetAnnotation("listen", alsoEnv, env) // it was just made: it cannot fail
	f.StringVar(&r.o.TLSCert, "tls-cert", "", "certificate for --listen, a PEM file (default: plain HTTP)")
	f.StringVar(&r.o.TLSKey, "tls-key", "", "key of that certificate, a PEM file")
	f.IntVar(&r.o.PerAddress, "max-connections-per-address", perAddress, "most connections that one address may hold at once, this machine and trusted proxies apart; 0: any number")
	f.StringSliceVar(&r.proxies, "trusted-proxy", nil, "address or network of a reverse proxy in front of --listen, for example 10.0.0.5 or 10.1.0.0/16: what it says in X-Forwarded-For, -Proto and -Host counts")
	f.StringSliceVar(&r.o.AllowedHosts, "allowed-host", nil, "host name, beside addresses and localhost, that callers may use")
}

// readDoor reads whose connections are let in how.
func (r *runner) readDoor() error {
	if r.o.PerAddress < 0 {
		return usagef("--max-connections-per-address is %d: give a number, or 0 for any number", r.o.PerAddress)
	}
	for _, text := range r.proxies {
		network, err := netip.ParsePrefix(text)
		if ip, errIP := netip.ParseAddr(text); err != nil && errIP == nil && ip.Zone() == "" {
			network, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			return usagef("--trusted-proxy %q is no address and no network: it should look like 10.0.0.5 or 10.1.0.0/16", text)
		}
		r.o.Proxies = append(r.o.Proxies, network.Masked())
	}
	return nil
}

func (r *runner) fleet(f *pflag.FlagSet, listen string) {
	s := &r.o.Serving
	f.StringVar(&s.FleetListen, "fleet-listen", listen, "address for nodes, gateways and other servers, with TLS")
	f.StringVar(&s.Advertise, "advertise", "", "HOST:PORT at which they reach it (default: worked out)")
	f.DurationVar(&s.LostAfter, "lost-after", 5*time.Minute, "how long a node may be away before its replicas get another place")
}

func (r *runner) token(f *pflag.FlagSet) {
	// --token is everybody's flag: for these commands it is the join token.
	f.StringVar(&r.joinTokenFile, "token-file", "", "file with the join token, instead of --token or NEBULA_TOKEN")
}

func (r *runner) engines(f *pflag.FlagSet) {
	n := &r.o.Running
	f.StringVar(&n.LlamaServer, "llama-server", "", "llama-server's program file (default: the one on the PATH)")
	f.BoolVar(&n.Evict.On, "cache-gc", false, "delete models that are not used when the disk gets full (default: only \"nebula cache prune\" deletes)")
	f.Float64Var(&n.Evict.High, "cache-high", 85, "percent of the disk at which that begins")
	f.Float64Var(&n.Evict.Low, "cache-low", 80, "percent of the disk at which it ends")
	f.DurationVar(&n.Evict.MinAge, "cache-min-age", 10*time.Minute, "how long a model is kept after its last use")
	f.DurationVar(&n.Evict.MaxAge, "cache-max-age", 0, "with --cache-gc: how long an unused model is kept on a disk that is not full (default: for ever)")
	f.BoolVar(&n.Evict.Foreign, "cache-foreign", false, "may delete what other programs have put into the cache, too")
	f.DurationVar(&n.DrainTimeout, "drain-timeout", time.Minute, "how long requests in flight may take to finish when a replica stops")
	r.downloads(f)
}

// readSecret reads a file that holds one secret.
func readSecret(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", usagef("read the token: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// splitServers reads the addresses of a cluster's servers, with or without https://, separated by commas.
func splitServers(text string) ([]string, error) {
	var out []string
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(part), "https://"), "/")
		if part == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(part); err != nil || strings.Contains(part, "/") {
			return nil, usagef("%q is not the address of a server: it should look like https://10.0.0.1:8443", part)
		}
		out = append(out, part)
	}
	if len(out) == 0 {
		return nil, usagef("say which cluster: --server https://HOST:8443 (the fleet address of one of its servers, or of several, separated by commas)")
	}
	return out, nil
}

func (c *command) logger(level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("log level %q is unknown: use debug, info, warn or error", level)
	}
	tty := terminal(c.env.Stderr)
	switch {
	case format == "json", format == "auto" && !tty:
		return slog.New(slog.NewJSONHandler(c.env.Stderr, &slog.HandlerOptions{Level: l})), nil
	case format == "text", format == "auto":
		return slog.New(tint.NewTextHandler(c.env.Stderr, &tint.Options{Level: l, TimeFormat: time.TimeOnly, NoColor: !tty})), nil
	}
	return nil, usagef("log format %q is unknown: use text, json or auto", format)
}
