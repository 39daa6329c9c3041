package app

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles"
	"github.com/nebula-serve/nebula/internal/obs"
	"github.com/nebula-serve/nebula/internal/openid"
)

// Options are the options of a process that runs for long. Each role reads those of its groups.
type Options struct {
	// Every role.
	DataDir string
	NodeID  string // the machine's name in the cluster; empty: the host's name
	Exe     string // nebula's own program file
	Version api.ServerVersion
	Log     *slog.Logger
	Started func(Info) // called once when requests are taken
	tail    *obs.Tail  // the end of Log

	// What people call: nebula up, server and gateway.
	Listen       string
	TLSCert      string // certificate and key files for Listen; empty: plain HTTP
	TLSKey       string
	AllowedHosts []string
	PerAddress   int            // most connections of one address at once; 0: any number
	Proxies      []netip.Prefix // reverse proxies in front of Listen: their connections are not counted, and they are believed about whom they speak for
	AuthTokens   string         // static credentials, as TOKEN:ROLE,TOKEN:ROLE
	OpenID       openid.Config  // of the login provider; no Issuer: there is none

	// What joins a cluster: nebula node, gateway, and a server with Join set.
	Servers []string // of the cluster: host:port or URL
	Token   string   // a join token; needed once

	Serving ServerOptions
	Running NodeOptions
}

// ServerOptions are those of nebula server, and of nebula up where it makes sense.
type ServerOptions struct {
	FleetListen string // where machines connect; empty: nowhere
	Advertise   string // host:port at which machines reach FleetListen; empty: worked out
	ClusterInit bool   // the first server of several: its etcd can be joined
	Join        bool   // a further server: Servers and Token say of what
	EtcdListen  string // HOST:PORT for the other members of an embedded etcd; its clients use the port below
	External    ExternalEtcd
	QuotaBytes  int64
	LostAfter   time.Duration // how long a node may be away before its replicas get another place
}

// ExternalEtcd is a cluster that somebody else runs.
type ExternalEtcd struct {
	Endpoints     []string
	CA, Cert, Key string // files
}

// NodeOptions are those of a machine that runs engines: nebula node and nebula up.
type NodeOptions struct {
	NodeListen     string // where gateways reach the engines; empty (nebula up): nowhere
	Advertise      string // host:port at which they reach it; empty: worked out
	ModelDir       string // empty: models in DataDir
	LlamaServer    string // empty: the one on the PATH
	HFEndpoint     string
	HFToken        string
	ScopeEndpoint  string // of ModelScope
	ScopeToken     string
	Offline        bool     // ask no hub
	LocalRoots     []string // folders that local models must be in; empty: anywhere
	AdoptFrom      []string // folders in which other programs keep models, whose files are verified and used instead of fetched
	Connections    int      // most to one hub
	BytesPerSecond uint64   // from hubs; 0: no limit
	DrainTimeout   time.Duration
	Evict          modelfiles.Eviction // when files are deleted to make room
	KeepEngines    bool                // leave the engines running when the process ends in order
}

// Info tells where a started process is.
type Info struct {
	URL          string // for people; empty: there is no such port
	FleetAddr    string // where machines join; empty: there is no such port
	NodeID       string // of a node on its own
	NodeAddr     string // where gateways reach its engines; empty: there is no such port
	TokenFile    string
	TokenCreated bool
	SetupToken   string // for the first user; empty: there are users
}

// SetupLink is the page on which the first user is made. Its token is behind the "#": browsers send that to nobody, so it comes into no log.
func (i Info) SetupLink() string { return i.URL + "/setup#" + i.SetupToken }

func (o Options) replicaDir() string { return filepath.Join(o.DataDir, "replicas") }

func (o Options) modelDir() string {
	if o.Running.ModelDir != "" {
		return o.Running.ModelDir
	}
	return filepath.Join(o.DataDir, "models")
}

// keyDir is where the credential of a role is kept, or, for the empty role, the keys of a server's authorities.
func (o Options) keyDir(role api.MachineRole) string {
	return filepath.Join(o.DataDir, "pki", string(role))
}
