package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/feed"
	"github.com/nebula-serve/nebula/internal/gateway"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/obs"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/store"
)

// admin is who has the credential that a server makes at its first start.
var admin = auth.Principal{ID: "admin", Role: auth.Admin, Kind: auth.KindStatic}

// gatewayOnly is the data plane of a cluster alone: the same store and the same gateway as in a server, fed by the servers.
func gatewayOnly(ctx context.Context, l *life, o Options) error {
	ln, err := listen(ctx, o.Listen, "--listen")
	if err != nil {
		return err
	}
	l.onStop("listener", func(context.Context) error { return ignoreClosed(ln.Close()) })
	secure, err := peopleTLS(o)
	if err != nil {
		return err
	}
	m, err := joinCluster(ctx, l, o, api.MachineGateway)
	if err != nil {
		return err
	}
	kept := snapshot(o, m.cred)
	st, err := store.OpenSnapshot(ctx, feed.NewKV(m.servers), o.Log.With("component", "store"), kept)
	if err != nil {
		return fmt.Errorf("get the cluster's state from its servers: %w", err)
	}
	l.goRun("store", st.Run)
	l.goRun("snapshot", func(ctx context.Context) error { return st.Keep(ctx, kept) })
	metrics, past := obs.NewRegistry(), keepPast(l, api.MachineGateway, o.NodeID)
	gw := gateway.New(gateway.Config{
		View: st, Log: o.Log.With("component", "gateway"), Registry: metrics, Tally: past.Tally(),
		NodeTLS: func(id string) *tls.Config { return m.cred.ClientTLS(m.clock, api.MachineNode, id) },
	})
	l.goRun("gateway", gw.Run)
	l.goRun("servers' addresses", func(ctx context.Context) error { return followServers(ctx, st, m) })
	uses := &auth.Uses{}
	l.goRun("key uses", storeUses(uses, func(ctx context.Context, uses []api.KeyUse) error {
		return m.servers.JSON(ctx, http.MethodPost, "/api/v2/gateways/"+url.PathEscape(o.NodeID)+"/key-uses", api.KeyUses{Uses: uses}, nil)
	}, false, o.Log.With("component", "keys")))
	ofCallers := m.servers.OfCallers()
	handler := httpapi.New(httpapi.Config{
		View: st, Keys: auth.Directory{View: st, Fixed: withStatic(auth.Keyring{}, o), Admin: &admin, Now: time.Now}, Inference: inferenceRoutes(gw), WithModels: gateway.WithModels, KeyUsed: noteUse(uses), Metrics: obs.Handler(metrics, o.Log), Gateway: past, Tail: o.tail, Servers: ofCallers, Ready: func() error { return nil },
		Closing: ctx.Done(), Version: o.Version, Hosts: o.AllowedHosts, Proxies: o.Proxies, Now: time.Now, Log: o.Log.With("component", "api"),
	})
	serve(l, "http", limited(ln, o.PerAddress, o.Proxies, secure != nil), handler, secure)
	if o.Started != nil {
		o.Started(Info{URL: localURL(ln.Addr(), secure != nil)})
	}
	return l.wait(ctx)
}

// keepPast keeps what the gateway of this process counts.
func keepPast(l *life, role api.MachineRole, id string) *obs.Past {
	past := obs.NewPast(api.MemberKey(role, id), &obs.Tally{}, time.Now())
	l.goRun("gateway's past", past.Run)
	return past
}

// snapshot is where a process that routes requests keeps its last state.
func snapshot(o Options, cred *pki.Credential) store.Snapshot {
	return store.Snapshot{Path: filepath.Join(o.DataDir, "state.snapshot"), Sign: cred.Sign, Verify: cred.Verify, Every: time.Second}
}

// followServers learns where the servers are from the cluster's members.
func followServers(ctx context.Context, st *store.Store, m *membership) error {
	for {
		s, changed := st.Current()
		var addrs []string
		for e := range s.Members.Prefix(string(api.MachineServer) + "/") {
			if e.Value.Addr != "" {
				addrs = append(addrs, e.Value.Addr)
			}
		}
		m.servers.Learn(addrs)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}
