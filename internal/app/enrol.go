package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/link"
	"github.com/nebula-serve/nebula/internal/pki"
)

// takeKeys gets the authorities: those of an earlier start, those of the cluster that this server joins, or new ones.
func (s *server) takeKeys(ctx context.Context) (err error) {
	if s.o.Serving.Join {
		if _, err := os.Stat(filepath.Join(s.o.keyDir(""), clusterCA+".crt")); errors.Is(err, fs.ErrNotExist) {
			if err := s.join(ctx); err != nil {
				return err
			}
		} else if err != nil {
			return fmt.Errorf("look for the keys of an earlier start: %w", err)
		}
	}
	s.keys, err = openAuthority(s.o)
	return err
}

// join lets this server into the cluster of another one. What tells the next start that this is done, the certificate of the cluster's authority,
// is written last: after a crash in between joining begins anew, with another token that is bound to this server's name.
func (s *server) join(ctx context.Context) error {
	if s.fleet == nil {
		return api.Errorf(api.CodeInvalidRequest, "a server that joins others must be reached by them: give --fleet-listen")
	}
	member, err := s.memberConfig()
	if err != nil {
		return err
	}
	if err := forgetHalfJoined(s.o); err != nil {
		return err
	}
	_, answer, err := link.Join(ctx, link.JoinConfig{
		Server: s.o.Servers[0], Token: s.o.Token, Role: api.MachineServer, ID: s.o.NodeID, Dir: s.o.keyDir(api.MachineServer),
		Addr: s.info.FleetAddr, PeerURL: member.PeerURL, Clock: pki.NewClock(time.Now),
	})
	if err != nil {
		return err
	}
	if answer.Server == nil {
		return errors.New("the server that was asked to join sent no keys")
	}
	return keepJoined(s.o, answer)
}

// forgetHalfJoined removes the credential of a join that was cut off before the cluster's keys were kept: it is of no use without them, and
// the cluster sends them to who joins, only.
func forgetHalfJoined(o Options) error {
	err := os.Remove(filepath.Join(o.keyDir(api.MachineServer), "machine.crt"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("begin to join anew: %w", err)
	}
	return nil
}

// keepJoined writes what a server that joins was told.
func keepJoined(o Options, answer api.JoinResponse) error {
	token := filepath.Join(o.DataDir, auth.TokenFile)
	if err := renameio.WriteFile(token, []byte(answer.Server.AdminToken+"\n"), 0o600, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("keep the admin credential: %w", err)
	}
	members := filepath.Join(o.DataDir, initialFile)
	if err := renameio.WriteFile(members, []byte(answer.Server.InitialCluster), 0o600); err != nil {
		return fmt.Errorf("keep the store's members: %w", err)
	}
	dir := o.keyDir("")
	if err := keepSecretsKey(dir, answer.Server.SecretsKey); err != nil {
		return fmt.Errorf("keep the cluster's keys: %w", err)
	}
	for _, one := range []struct {
		name      string
		cert, key []byte
	}{{etcdCA, answer.Server.EtcdCA, answer.Server.EtcdCAKey}, {clusterCA, answer.CA, answer.Server.CAKey}} {
		ca, err := pki.ParseCA(one.cert, one.key)
		if err == nil {
			err = ca.Save(dir, one.name)
		}
		if err != nil {
			return fmt.Errorf("keep the cluster's keys: %w", err)
		}
	}
	return nil
}

// admission is what this server needs to let machines in; without a fleet port it lets none in.
func (s *server) admission() control.Fleet {
	if s.fleet == nil {
		return control.Fleet{Leases: s.kv}
	}
	f := control.Fleet{CA: s.keys.ca, Leases: s.kv}
	if s.o.Serving.ClusterInit || s.o.Serving.Join || len(s.o.Serving.External.Endpoints) > 0 {
		f.Admit = s.admit
	}
	return f
}

// admit makes another server one of this cluster: it gets the keys, and a place among the store's members.
func (s *server) admit(ctx context.Context, req api.JoinRequest) (*api.JoinServer, error) {
	token, err := LocalToken(s.o.DataDir)
	if err != nil {
		return nil, err
	}
	out := &api.JoinServer{AdminToken: token, EtcdCA: s.keys.etcd.DER(), SecretsKey: s.keys.secrets.Bytes()}
	if out.CAKey, err = s.keys.ca.KeyDER(); err != nil {
		return nil, err
	}
	if out.EtcdCAKey, err = s.keys.etcd.KeyDER(); err != nil {
		return nil, err
	}
	if len(s.o.Serving.External.Endpoints) > 0 {
		return out, nil
	}
	if out.InitialCluster, err = s.kv.AddLearner(ctx, req.ID, req.PeerURL); err != nil {
		return nil, fmt.Errorf("take %s into the store's members: %w", req.ID, err)
	}
	return out, nil
}

// enrolEvery is how often a server that came up without the store tries to enrol.
const enrolEvery = 2 * time.Second

// enrol makes this server a member of the cluster. When the store does not answer a server that was one before does so later: until then it
// serves what it knows.
func (s *server) enrol(ctx context.Context, token string) error {
	tryCtx, cancel := context.WithTimeout(ctx, firstAnswer)
	defer cancel()
	info, err := s.control.InitCluster(tryCtx)
	if err == nil {
		if err := s.sameAuthority(info); err != nil {
			return err
		}
		err = s.takeCredential(info.ID)
	}
	if err == nil {
		err = s.enrolNow(tryCtx, token)
	}
	if err == nil || s.cred == nil || ctx.Err() != nil {
		return err
	}
	s.o.Log.Warn("the store takes no changes yet; this server serves what it knew last", "error", err)
	s.life.goRun("enrolment", func(ctx context.Context) error {
		tick := time.NewTicker(enrolEvery)
		defer tick.Stop()
		for {
			if err := s.enrolNow(ctx, token); err == nil {
				s.o.Log.Info("the store takes changes again")
				<-ctx.Done()
				return nil
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
	return nil
}

// sameAuthority refuses a store whose machines have certificates of another authority than this server's: two servers that trust different ones
// would each be a stranger to the other's nodes. --cluster-init begins anew on purpose.
func (s *server) sameAuthority(info api.ClusterInfo) error {
	if s.fleet == nil || s.o.Serving.ClusterInit || info.Authority == "" || info.Authority == pki.Fingerprint(s.keys.ca.DER()) {
		return nil
	}
	return api.Errorf(api.CodeConflict, "this store belongs to a cluster whose certificate authority this server does not have: join it with --join and a token of "+
		"nebula token create --for server, or put back the folder %s of a server of it; --cluster-init makes a new authority, and every machine joins again", s.o.keyDir(""))
}

// takeCredential gets this server its credential for a cluster, unless it has one.
func (s *server) takeCredential(cluster string) (err error) {
	if s.fleet != nil && (s.cred == nil || s.cred.Identity().Cluster != cluster) {
		s.cred, err = s.keys.credential(s.o, api.MachineServer, cluster, s.hosts)
	}
	return err
}

// enrolNow writes what the cluster should know of this server.
func (s *server) enrolNow(ctx context.Context, token string) error {
	if s.fleet == nil {
		return nil
	}
	self := api.Member{Role: api.MachineServer, ID: s.o.NodeID, KeyHash: s.cred.KeyHash(), Addr: s.info.FleetAddr}
	if err := s.control.RegisterLocal(ctx, self); err != nil {
		return fmt.Errorf("make this server a member: %w", err)
	}
	if err := s.control.Publish(ctx, pki.Fingerprint(s.keys.ca.DER()), auth.Digest(token)); err != nil {
		return fmt.Errorf("tell gateways of the admin credential: %w", err)
	}
	return nil
}

// formerCredential is the credential of an earlier start, of use while the store does not answer; nil when there is none.
func (s *server) formerCredential() (*pki.Credential, error) {
	if s.fleet == nil {
		return nil, nil
	}
	cred, err := pki.LoadCredential(s.o.keyDir(api.MachineServer))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("the credential in %s: %w", s.o.keyDir(api.MachineServer), err)
	case cred.Identity().ID != s.o.NodeID:
		return nil, nil
	}
	return cred, s.keys.renew(cred, s.hosts)
}

// nodeTLS is how the gateway in this process reaches nodes; nil: there are no others.
func (s *server) nodeTLS() func(string) *tls.Config {
	if s.cred == nil {
		return nil
	}
	return func(id string) *tls.Config { return s.cred.ClientTLS(s.keys.clock, api.MachineNode, id) }
}
