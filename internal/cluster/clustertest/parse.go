// Package clustertest writes clusters as text, for the tests of those who decide about clusters: one line an object, so
// that a case reads like its story. It never checks anything; its only user is test code.
//
//	now 60s
//	node n1 gpus=80000,81000/500 mem=64000 engines=llamacpp,vllm missing.sglang="pip install sglang"
//	member n1 cordoned draining
//	absent n1 6m
//	model chat engine=vllm tp=2 vram=20000 name=org/chat path=/m labels=team:a updated=10s
//	deploy chat running replicas=2 node=n1 gpus=0,1 version=3 updated=10s
//	deploy chat running drain=0@n1;1@n2               (replicas that are to leave by themselves)
//	plan chat version=3 0@n1:0,1 1@n2 unplaced=no_nodes message="No node."
//	plan chat version=3 1@n2>0 displaced=0@n1:0,1     (replica 1 takes the place of the displaced replica 0)
//	endpoint chat/0@n1 ready gpus=0,1 plan=3 generation=3 fail=out_of_memory message="It is full." final retry=70s
//	download chat/0@n1 downloading done=43 total=100
//	cache n1/abc name=org/chat path=/m size=10 complete
//	alert n1/disk_warning message="Nearly full."
//	bad /models/chat/spec message="invalid character"
//
// Times are distances from the epoch. GPUs are TOTAL or TOTAL/USED in MiB. Each line gets the next revision; rev=N sets it.
// A member is a node, and several displaced assignments are divided by semicolons.
package clustertest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// Cluster is a parsed text: the State, the time, and the lines that are none of ours.
type Cluster struct {
	State *cluster.State
	Now   time.Time
	// Absent is how long the observer has missed nodes.
	Absent map[string]time.Duration
	Rest   [][]string // the fields of every other line, for the caller's own commands
}

// Parse reads a cluster. Lines that are empty or start with # are skipped.
func Parse(text string) (*Cluster, error) {
	c := &Cluster{State: &cluster.State{}, Now: time.Unix(0, 0)}
	b := builder{s: c.State}
	for n, row := range strings.Split(text, "\n") {
		words, err := fields(row)
		if err == nil && len(words) > 0 {
			err = c.line(&b, words)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %q: %w", n+1, row, err)
		}
	}
	c.State.Revision = b.rev
	return c, nil
}

func (c *Cluster) line(b *builder, words []string) error {
	l := &line{words: words[1:]}
	b.rev++
	switch words[0] {
	case "now":
		c.Now = time.Unix(0, 0).Add(l.duration(l.next()))
		b.rev--
	case "node":
		b.node(l)
	case "member":
		b.member(l)
	case "absent":
		if c.Absent == nil {
			c.Absent = map[string]time.Duration{}
		}
		id := l.next()
		c.Absent[id] = l.duration(l.next())
		b.rev--
	case "model":
		b.model(l)
	case "deploy":
		b.deploy(l)
	case "plan":
		b.plan(l)
	case "endpoint":
		b.endpoint(l)
	case "download":
		b.download(l)
	case "cache":
		b.cache(l)
	case "alert":
		b.alert(l)
	case "bad":
		key := l.next()
		add(&b.s.Bad, key, b.rev, cluster.BadValue{Key: key, Err: l.get("message")})
	default:
		b.rev--
		c.Rest = append(c.Rest, words)
		return nil
	}
	if l.err == nil && len(l.words) > 0 {
		return fmt.Errorf("what is %q?", l.words[0])
	}
	return l.err
}

// fields splits at spaces outside double quotes and drops the quotes.
func fields(row string) ([]string, error) {
	row = strings.TrimSpace(row)
	if row == "" || row[0] == '#' {
		return nil, nil
	}
	var out []string
	var b strings.Builder
	quoted := false
	for _, r := range row {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ' ' && !quoted:
			if b.Len() > 0 {
				out = append(out, b.String())
				b.Reset()
			}
		default:
			b.WriteRune(r)
		}
	}
	if quoted {
		return nil, fmt.Errorf("open quote")
	}
	if b.Len() > 0 {
		out = append(out, b.String())
	}
	return out, nil
}

// line is the rest of a line; each getter takes out what it reads, and the first error sticks.
type line struct {
	words []string
	err   error
}

func (l *line) next() string {
	if len(l.words) == 0 {
		l.fail(fmt.Errorf("too few words"))
		return ""
	}
	w := l.words[0]
	l.words = l.words[1:]
	return w
}

// get returns the value of key=value, or "".
func (l *line) get(key string) string {
	for i, w := range l.words {
		if v, ok := strings.CutPrefix(w, key+"="); ok {
			l.words = append(l.words[:i:i], l.words[i+1:]...)
			return v
		}
	}
	return ""
}

// flag tells whether the bare word is there.
func (l *line) flag(word string) bool {
	for i, w := range l.words {
		if w == word {
			l.words = append(l.words[:i:i], l.words[i+1:]...)
			return true
		}
	}
	return false
}

func (l *line) number(s string) uint64 {
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	l.fail(err)
	return n
}

// optional returns nil for an absent key.
func optional[T uint32 | uint64](l *line, key string) *T {
	s := l.get(key)
	if s == "" {
		return nil
	}
	v := T(l.number(s))
	return &v
}

func (l *line) duration(s string) time.Duration {
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	l.fail(err)
	return d
}

func (l *line) indices(s string) []uint32 {
	var out []uint32
	for part := range strings.SplitSeq(s, ",") {
		if part != "" {
			out = append(out, uint32(l.number(part)))
		}
	}
	return out
}

func (l *line) list(key string) []string {
	if s := l.get(key); s != "" {
		return strings.Split(s, ",")
	}
	return nil
}

func (l *line) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

// replica reads uid/replica@node.
func (l *line) replica(s string) (uid string, id uint32, node string) {
	key, node, _ := strings.Cut(s, "@")
	uid, number, _ := strings.Cut(key, "/")
	return uid, uint32(l.number(number)), node
}

// assignment reads replica@node or replica@node:gpu,gpu, either with >replica for the one whose place it takes.
func (l *line) assignment(s string) api.PlacementAssignment {
	s, replaced, replaces := strings.Cut(s, ">")
	id, at, _ := strings.Cut(s, "@")
	node, gpus, _ := strings.Cut(at, ":")
	a := api.PlacementAssignment{ReplicaID: uint32(l.number(id)), NodeID: node, GPUIndices: l.indices(gpus)}
	if replaces {
		other := uint32(l.number(replaced))
		a.Replaces = &other
	}
	if len(a.GPUIndices) > 0 {
		first := a.GPUIndices[0]
		a.GPUIndex = &first
	}
	return a
}
