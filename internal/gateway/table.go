package gateway

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// table is everything that routing needs of one State. It is built aside, swapped in whole and never changed after that.
type table struct {
	state  *cluster.State
	models map[string]*model   // by uid
	names  map[string][]string // model name -> uids, in order
}

// model is one model as requests see it.
type model struct {
	uid, name string
	created   int64      // seconds
	targets   []standing // every replica that has an address, in order of its id

	// What outlives the table; bind sets them before the table is published.
	live  *modelLive
	ready []*replica // of the targets that take requests
}

// standing is a target and how its node sees it.
type standing struct {
	target
	status api.EndpointStatus
}

// target is one incarnation of a replica. It can be compared: another process, address or name is another target.
type target struct {
	uid       string
	replica   uint32
	node      string // that it is reached through; empty: it is on this machine
	addr      string // host:port, of the engine or of the node
	prefix    string // path before /v1
	engine    string
	served    string // the model name that the engine knows
	caps      capability
	pid       int
	startedMS int64
}

// buildTable works out the routes of a State. A replica whose address cannot be used takes no requests.
//
// A replica of another node than local is reached through that node's port, also when the node itself is not in the State: that only
// means that no server sees it.
//
// A model is known when it has a spec, also one that cannot be read: serving does not end because a document is damaged.
func buildTable(s *cluster.State, local string) *table {
	t := &table{state: s, models: make(map[string]*model, s.Models.Len()), names: make(map[string][]string, s.Models.Len())}
	for e := range s.Models.All() {
		t.models[e.ID] = &model{uid: e.ID, name: e.Value.ModelName, created: e.Value.CreatedAtMS / 1000}
		t.names[e.Value.ModelName] = append(t.names[e.Value.ModelName], e.ID)
	}
	for e := range s.Bad.Prefix("/models/") {
		if uid, ok := strings.CutSuffix(strings.TrimPrefix(e.ID, "/models/"), "/spec"); ok && t.models[uid] == nil {
			t.models[uid] = &model{uid: uid}
		}
	}
	for e := range s.Endpoints.All() {
		m := t.models[e.Value.ModelUID]
		if m == nil {
			continue
		}
		if g, ok := newTarget(s, &e.Value, local); ok {
			m.targets = append(m.targets, standing{g, e.Value.Status})
		}
	}
	return t
}

func newTarget(s *cluster.State, e *api.EndpointInfo, local string) (target, bool) {
	if e.BaseURL == nil {
		return target{}, false
	}
	to := target{
		uid: e.ModelUID, replica: e.ReplicaID, engine: engine(e.EngineType), served: e.ServedName, caps: capabilities(e.Capabilities),
		pid: e.PID, startedMS: e.StartedAtMS,
	}
	if to.served == "" {
		to.served = e.ModelUID
	}
	if e.NodeID != local {
		to.node, to.addr, to.prefix = e.NodeID, e.NodeAddr, "/engines/"+e.Key()
		if to.addr == "" {
			n, _ := s.Nodes.Value(e.NodeID)
			to.addr = n.APIAddr
		}
		return to, to.addr != "" && api.KnownUID(e.ModelUID) && api.ValidNodeID(e.NodeID)
	}
	u, err := url.Parse(*e.BaseURL)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.User != nil {
		return target{}, false
	}
	to.addr, to.prefix = u.Host, strings.TrimRight(u.EscapedPath(), "/")
	if u.Port() == "" {
		to.addr = strings.TrimSuffix(to.addr, ":") + ":80"
	}
	return to, true
}

// engine returns the canonical name. Agents write that already, and there are many endpoints.
func engine(name string) string {
	switch name {
	case api.EngineLlamaCPP, api.EngineVLLM, api.EngineSGLang:
		return name
	}
	return api.CanonicalEngine(name)
}

// capability is a set of kinds of requests.
type capability uint8

const (
	canChat capability = 1 << iota
	canComplete
	canEmbed
	canAll = canChat | canComplete | canEmbed
)

var capabilityNames = [...]struct {
	bit  capability
	name string
}{{canChat, "chat"}, {canComplete, "completions"}, {canEmbed, "embeddings"}}

// capabilities reads a replica's list; an empty one promises everything, and words of a later version are skipped.
func capabilities(names []string) capability {
	if len(names) == 0 {
		return canAll
	}
	var c capability
	for _, k := range capabilityNames {
		if slices.Contains(names, k.name) {
			c |= k.bit
		}
	}
	return c
}

func (c capability) String() string {
	var names []string
	for _, k := range capabilityNames {
		if c&k.bit != 0 {
			names = append(names, k.name)
		}
	}
	return strings.Join(names, " and ")
}

// find returns the model of that uid, or else the only one of that name, among those that the caller may use. Another one is not there, in no way
// other than one that does not exist.
func (t *table) find(name string, may permit) (*model, *fault) {
	if m := t.models[name]; m != nil && may.allows(name) {
		return m, nil
	}
	switch uids := may.of(t.names[name]); len(uids) {
	case 0:
		return nil, t.unknown(name, may)
	case 1:
		return t.models[uids[0]], nil
	default:
		return nil, newFault(404, codeModelNotFound, "%d models are named %.200q; use one of their uids: %s",
			len(uids), name, some(uids)).about("model")
	}
}

// unknown says which models there are, so that a slip of the pen is seen at once.
func (t *table) unknown(name string, may permit) *fault {
	uids := make([]string, 0, len(t.models))
	for uid := range t.models {
		if may.allows(uid) {
			uids = append(uids, uid)
		}
	}
	slices.Sort(uids)
	say := "there are no models yet; declare one with: nebula model create"
	switch {
	case len(uids) > 0:
		say = "the models are " + some(uids)
	case may != nil:
		say = "there are no models that this key may use"
	}
	return newFault(404, codeModelNotFound, "the model %.200q does not exist; %s", name, say).about("model")
}

// some lists the first of many.
func some(uids []string) string {
	const most = 20
	if len(uids) <= most {
		return strings.Join(uids, ", ")
	}
	return strings.Join(uids[:most], ", ") + ", …"
}

// listed is a model in OpenAI's list of models.
type listed struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	Root    string `json:"root"` // the model's own name, as vLLM says it
}

func (m *model) listed() listed {
	return listed{ID: m.uid, Object: "model", Created: m.created, OwnedBy: "nebula", Root: m.name}
}

// list returns the models that answer requests now, in order, as OpenAI's API lists them.
func (t *table) list(may permit) []byte {
	all := []listed{} // of ten thousand models few may answer: no room for all of them is made
	for _, m := range t.models {
		if len(m.ready) > 0 && may.allows(m.uid) {
			all = append(all, m.listed())
		}
	}
	slices.SortFunc(all, func(a, b listed) int { return strings.Compare(a.ID, b.ID) })
	return encode(struct {
		Object string   `json:"object"`
		Data   []listed `json:"data"`
	}{"list", all})
}

// encode encodes what cannot fail: strings and numbers.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("{}")
	}
	return b
}
