package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/gateway/upstream"
	"github.com/nebula-serve/nebula/internal/link"
	"github.com/nebula-serve/nebula/internal/modelfiles"
	"github.com/nebula-serve/nebula/internal/modelfiles/peer"
	"github.com/nebula-serve/nebula/internal/nodeapi"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/supervise"
)

// membership is a machine's place in a cluster whose servers are elsewhere.
type membership struct {
	cred    *pki.Credential
	clock   *pki.Clock
	servers *link.Servers
}

// joinCluster takes up the membership of an earlier start, or joins with the token, and keeps the credential renewed.
func joinCluster(ctx context.Context, l *life, o Options, role api.MachineRole) (*membership, error) {
	m := &membership{clock: pki.NewClock(time.Now)}
	cfg := link.JoinConfig{Token: o.Token, Role: role, ID: o.NodeID, Dir: o.keyDir(role), Clock: m.clock}
	var answer api.JoinResponse
	var err error
	for _, cfg.Server = range o.Servers {
		if m.cred, answer, err = link.Join(ctx, cfg); !api.HasCode(err, api.CodeUnavailable) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	log := o.Log.With("component", "link")
	known := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(o.Servers), answer.Servers...))))
	m.servers = link.NewServers(link.ServersConfig{Addrs: known, Credential: m.cred, Clock: m.clock, Log: log})
	l.goRun("credential", func(ctx context.Context) error {
		return link.Renew(ctx, link.RenewConfig{Credential: m.cred, Clock: m.clock, Servers: m.servers, Log: log})
	})
	return m, nil
}

// streamGrace is how long requests in flight at a node's engines may go on when the node's process ends in order.
const streamGrace = 10 * time.Second

// nodeOnly is the agent of this machine, with servers elsewhere.
func nodeOnly(ctx context.Context, l *life, o Options) error {
	ln, addr, err := listenNode(ctx, l, o, "--listen")
	if err != nil {
		return err
	}
	m, err := joinCluster(ctx, l, o, api.MachineNode)
	if err != nil {
		return err
	}
	log := o.Log.With("component", "link")
	wishes, err := link.New(link.Config{Dir: o.DataDir, NodeID: o.NodeID, Credential: m.cred, Servers: m.servers, Log: log})
	if err != nil {
		return err
	}
	l.goRun("link", wishes.Run)
	files, err := openFiles(o, &peer.Config{Ask: wishes.Blobs, TLS: towardsNodes(m.cred, m.clock)})
	if err != nil {
		return err
	}
	port := serveNode(l, o, ln, m.cred.Identity().Cluster, m.cred.ServerTLS(m.clock), files)
	err = startAgent(l, o, surroundings{link: wishes, inFlight: port.InFlight, endpoints: port.SetEndpoints, addr: addr, files: files})
	if err != nil {
		return err
	}
	if o.Started != nil {
		o.Started(Info{NodeID: o.NodeID, NodeAddr: addr})
	}
	return l.wait(ctx)
}

// listenNode opens the port at which gateways reach a node's engines, and tells where that is.
func listenNode(ctx context.Context, l *life, o Options, flag string) (net.Listener, string, error) {
	ln, err := listen(ctx, o.Running.NodeListen, flag)
	if err != nil {
		return nil, "", err
	}
	l.onStop("node's listener", func(context.Context) error { return ignoreClosed(ln.Close()) })
	towards := ""
	if len(o.Servers) > 0 {
		towards = o.Servers[0]
	}
	addr, err := advertised(o.Running.Advertise, ln.Addr(), towards)
	return ln, addr, err
}

// keptToEngine is how many unused connections a node keeps to one engine. llama-server has a thread for each connection, used or not, and few of
// them: kept ones would make the requests of a burst wait until they run out, seconds later. A new one on loopback costs next to nothing.
const keptToEngine = 2

// towardsNodes is how a node reaches other nodes.
func towardsNodes(cred *pki.Credential, clock *pki.Clock) func(string) *tls.Config {
	return func(node string) *tls.Config { return cred.ClientTLS(clock, api.MachineNode, node) }
}

// serveNode serves this machine's engines to the gateways of the cluster, and its files to the other nodes.
func serveNode(l *life, o Options, ln net.Listener, cluster string, secure *tls.Config, files *modelfiles.Store) *nodeapi.API {
	logs := o.replicaDir()
	port := nodeapi.New(nodeapi.Config{
		Cluster: cluster, Log: o.Log.With("component", "node"), Engines: upstream.Limits{MaxIdle: keptToEngine}, Blobs: files.ServeBlob,
		Prune: nodeFiles{files}.prune, Evict: nodeFiles{files}.evict, Verify: nodeFiles{files}.verify,
		OpenLog: func(ctx context.Context, uid string, replica uint32, lo nodeapi.LogOptions) (io.ReadCloser, error) {
			return supervise.OpenLog(ctx, logs, uid, replica, supervise.LogOptions{Tail: lo.Tail, Follow: lo.Follow, Previous: lo.Previous})
		},
	})
	l.goRun("node's port", func(ctx context.Context) error { return port.Serve(ctx, ln, secure, streamGrace) })
	return port
}

// startLocalNode makes this machine a node of the server in the same process, and returns what its agent has around it.
func (s *server) startLocalNode(ctx context.Context) (surroundings, error) {
	node := s.registry.Node(s.o.NodeID)
	around := surroundings{link: node, inFlight: s.gateway.InFlight}
	self := api.Member{Role: api.MachineNode, ID: s.o.NodeID}
	if err := s.control.RegisterLocal(ctx, self); err != nil {
		return around, fmt.Errorf("make this machine's node a member: %w", err)
	}
	if s.o.Running.NodeListen == "" {
		var err error
		around.files, err = openFiles(s.o, nil) // nobody could get anything from here
		return around, err
	}
	if s.cred == nil {
		return around, api.Errorf(api.CodeInvalidRequest, "--node-listen is for gateways on other machines, and they need a server to join: give --fleet-listen, too")
	}
	ln, addr, err := listenNode(ctx, s.life, s.o, "--node-listen")
	if err != nil {
		return around, err
	}
	cluster := s.cred.Identity().Cluster
	cred, err := s.keys.credential(s.o, api.MachineNode, cluster, nil)
	if err != nil {
		return around, err
	}
	s.life.goRun("node's credential", s.keys.keepRenewed(cred, nil, s.o.Log))
	if around.files, err = openFiles(s.o, &peer.Config{Ask: node.Blobs, TLS: towardsNodes(cred, s.keys.clock)}); err != nil {
		return around, err
	}
	port := serveNode(s.life, s.o, ln, cluster, cred.ServerTLS(s.keys.clock), around.files)
	around.addr, around.endpoints = addr, port.SetEndpoints
	around.inFlight = func(uid string, replica uint32) int {
		return s.gateway.InFlight(uid, replica) + port.InFlight(uid, replica)
	}
	return around, nil
}
