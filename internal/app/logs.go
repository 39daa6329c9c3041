package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/supervise"
)

// OpenLog opens the log of a replica's engine, on this machine or through the node that has it.
func (s *server) OpenLog(ctx context.Context, uid string, replica uint32, o httpapi.LogOptions) (io.ReadCloser, error) {
	node, addr, err := s.whereIs(uid, replica, o.Node)
	if err != nil {
		return nil, err
	}
	if node == "" || node == s.localNode {
		log, err := supervise.OpenLog(ctx, s.o.replicaDir(), uid, replica, supervise.LogOptions{Tail: o.Tail, Follow: o.Follow, Previous: o.Previous})
		if node == "" && api.HasCode(err, api.CodeNotFound) && s.hasOtherNodes() {
			err = api.Errorf(api.CodeNotFound, "replica %d of %s has no place now, and has left no log here: name the node where it ran, with --node or ?node=", replica, uid)
		}
		return log, err
	}
	if addr == "" || s.cred == nil {
		return nil, api.Errorf(api.CodeUnavailable, "the replica is on node %s, which has told no address: look at its log there", node)
	}
	q := url.Values{"tail": {strconv.Itoa(o.Tail)}, "follow": {strconv.FormatBool(o.Follow)}, "previous": {strconv.FormatBool(o.Previous)}}
	u := url.URL{Scheme: "https", Host: addr, Path: fmt.Sprintf("/engines/%s/%d/log", uid, replica), RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask node %s for a log: %w", node, err)
	}
	t := &http.Transport{
		DialContext:     (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSClientConfig: s.cred.ClientTLS(s.keys.clock, api.MachineNode, node), TLSHandshakeTimeout: 5 * time.Second,
		ResponseHeaderTimeout: 10 * time.Second, DisableKeepAlives: true, DisableCompression: true,
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		return nil, api.Errorf(api.CodeUnavailable, "node %s, which has the log, cannot be reached at %s: %v", node, addr, err)
	}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		if res.StatusCode == http.StatusNotFound {
			return nil, api.Errorf(api.CodeNotFound, "there is no log of replica %d of %s on node %s", replica, uid, node)
		}
		return nil, api.Errorf(api.CodeUpstream, "node %s gave no log: status %d", node, res.StatusCode)
	}
	return res.Body, nil
}

// whereIs finds the node that has a replica, or is to have it; or the one that people name.
func (s *server) whereIs(uid string, replica uint32, named string) (node, addr string, err error) {
	st, _ := s.store.Current()
	if named != "" {
		n, ok := st.Nodes.Value(named)
		if !ok && named != s.localNode {
			return "", "", api.Errorf(api.CodeNotFound, "node %.80q does not report; list those that do with: nebula node list", named)
		}
		return named, n.APIAddr, nil
	}
	if e, ok := st.Endpoints.Value(api.EndpointKey(uid, replica)); ok {
		return e.NodeID, e.NodeAddr, nil
	}
	plan, _ := st.Placements.Value(uid)
	for _, a := range plan.Assignments {
		if a.ReplicaID == replica {
			n, _ := st.Nodes.Value(a.NodeID)
			return a.NodeID, n.APIAddr, nil
		}
	}
	return "", "", nil
}

// hasOtherNodes tells whether a node beside this machine's own reports.
func (s *server) hasOtherNodes() bool {
	st, _ := s.store.Current()
	return st.Nodes.Len() > 1 || st.Nodes.Len() == 1 && !st.Nodes.Has(s.localNode)
}
