package openapitest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/internal/openapi"
)

// Fuzzer makes requests out of a document: most of them nearly right, about objects that earlier answers have shown, and some that nobody in
// their right mind would send. It draws everything from one source, so that a seed tells the whole story.
type Fuzzer struct {
	doc   *openapi.Document
	rng   *rand.Rand
	calls []operation
	// seen are values of answers: ids by the collection that they are of, and texts by the name of their field.
	seen map[string][]string
	last Call
	// near is the collection in which something was made last: the next calls are often about it, before something else takes it away.
	near string
	// bent says that the call that is being made may be wrong somewhere; the others are as people mean them, as far as a document tells.
	bent bool
}

type operation struct {
	method, path string
	*openapi.OperationObject
}

// Call is one request to make.
type Call struct {
	Operation    string // id of what it is about; it may be bent beyond recognition
	Method, Path string // with the query
	Header       map[string]string
	Body         []byte
	As           string // who makes it: a role, "nobody", or "stranger"
	Stays        bool   // it may be a stream that has no end
}

// String is the call as a person would repeat it.
func (c Call) String() string {
	return fmt.Sprintf("%s %s as %s %v %.600q", c.Method, c.Path, c.As, c.Header, c.Body)
}

// NewFuzzer returns a fuzzer of all operations of d.
func NewFuzzer(d *openapi.Document, seed uint64) *Fuzzer {
	f := &Fuzzer{doc: d, rng: rand.New(rand.NewPCG(seed, 0)), seen: map[string][]string{}}
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(d.Paths[path])) {
			f.calls = append(f.calls, operation{strings.ToUpper(method), path, d.Paths[path][method]})
		}
	}
	return f
}

// one tells, once in n times.
func (f *Fuzzer) one(n int) bool { return f.rng.IntN(n) == 0 }

func pick[T any](f *Fuzzer, from []T) T { return from[f.rng.IntN(len(from))] }

// Next makes the next call; now and then it is the last one again, as from a client that has heard nothing.
func (f *Fuzzer) Next() Call {
	if f.last.Method == "" || !f.one(15) {
		f.last = f.make()
	}
	return f.last
}

func (f *Fuzzer) make() Call {
	op := f.operation()
	f.bent = f.one(2)
	c := Call{Operation: op.OperationID, Method: op.method, Header: map[string]string{}, As: f.caller(op)}
	if f.bent && f.one(15) {
		c.Method = pick(f, []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"})
	}
	c.Path = f.path(op.path)
	query := url.Values{}
	for _, p := range op.Parameters {
		switch {
		case p.In == "query" && f.one(4):
			query.Add(p.Name, f.argument(p))
			c.Stays = c.Stays || p.Name == "watch" || p.Name == "follow"
		case p.In == "header" && f.one(4):
			c.Header[p.Name] = f.argument(p)
		}
	}
	if f.bent && f.one(10) {
		query.Add(pick(f, []string{"watch", "limit", "cursor", "state", "label", "nonsense", "", "dry_run"}), f.text("query"))
		c.Stays = true
	}
	if len(query) > 0 {
		c.Path += "?" + query.Encode()
	}
	if f.bent && f.one(50) {
		c.Path += pick(f, []string{"?%zz", "?a=%", "?;", "/", "//", "/../..", "%00", "?&&&=&"})
	}
	if op.RequestBody != nil && !f.one(30) || f.one(40) {
		f.body(op, &c)
	}
	if f.bent && f.one(8) {
		f.oddHeader(&c)
	}
	if res := op.Responses["200"]; res != nil && res.Content["text/event-stream"].Schema != nil && len(res.Content) == 1 {
		c.Stays = true // it is nothing but a stream
	}
	c.Stays = c.Stays && c.Method == "GET"
	return c
}

// operation is what the next call is about: any, or one on what was made last.
func (f *Fuzzer) operation() operation {
	other, stay, n := pick(f, f.calls), f.one(2), f.rng.IntN(1<<20) // drawn always
	var near []operation
	for _, op := range f.calls {
		if f.near != "" && strings.Contains(op.path, "/"+f.near+"/{") {
			near = append(near, op)
		}
	}
	if !stay || len(near) == 0 {
		return other
	}
	return near[n%len(near)]
}

// caller is who makes a call: mostly somebody who may.
func (f *Fuzzer) caller(op operation) string {
	switch {
	case f.one(40):
		return pick(f, []string{"nobody", "stranger"})
	case f.one(12):
		return pick(f, []string{"inference", "viewer", "operator", "node", "gateway", "server"})
	case len(op.Security) > 0 && op.Security[0]["certificate"] != nil:
		if op.Role == "machine" {
			return "node"
		}
		return op.Role
	}
	return "admin"
}

// badIDs are what nobody may call anything. They are parts of a path, escaped where they must be.
var badIDs = []string{
	"..", ".", "%2e%2e", "%2e%2e%2fetc", "a%2Fb", "%00", "a%00b", "%20", "%0d%0a", "-", "--help", "%F0%9F%A6%99", "%ff", "UPPER", "a..b", "*", "a:b", "%25", "$(id)", "'%22",
	strings.Repeat("a", 64), strings.Repeat("b", 5000), "none", "0", "-1", "null", "9999999999999999999999",
}

func (f *Fuzzer) path(template string) string {
	segments := strings.Split(template, "/")
	for i, s := range segments {
		if !strings.HasPrefix(s, "{") {
			continue
		}
		if f.bent && f.one(4) {
			segments[i] = pick(f, badIDs)
			continue
		}
		segments[i] = url.PathEscape(f.known("of:"+segments[i-1], idOf(segments[i-1])))
	}
	return strings.Join(segments, "/")
}

// idOf is what an object of a collection may be called of which no answer has shown any.
func idOf(collection string) string {
	switch collection {
	case "nodes":
		return "n1"
	case "gateways":
		return "g1"
	}
	return "m1"
}

// known is a value that an answer has shown, or one that is likely enough.
func (f *Fuzzer) known(key, otherwise string) string {
	n := f.rng.IntN(1 << 20) // drawn always: what was seen must not change what is drawn next
	if seen := f.seen[key]; len(seen) > 0 {
		return seen[n%len(seen)]
	}
	return otherwise
}

func (f *Fuzzer) argument(p openapi.Parameter) string {
	if f.bent && f.one(3) {
		return f.text(p.Name)
	}
	switch {
	case p.Schema.Enum != nil:
		return fmt.Sprint(pick(f, p.Schema.Enum))
	case p.Schema.Type == "boolean":
		return pick(f, []string{"1", "true", "", "0", "no", "yes"})
	case p.Schema.Type == "integer":
		return pick(f, []string{"0", "1", "2", "10", "1000", "1001", "-1", "99999999999999999999", "1e3", "0x10"})
	case p.Name == "cursor":
		return f.known("header:Nebula-Next-Cursor", "abc")
	case p.Name == "If-Match", p.Name == "If-None-Match":
		return f.known("header:ETag", `"1"`)
	case p.Name == "Idempotency-Key":
		return pick(f, []string{"k1", "k2", "k3"})
	}
	return f.known(p.Name, f.text(p.Name))
}

// plainTexts of the texts are what nobody wonders at.
const plainTexts = 16

var texts = []string{
	"m1", "m2", "m3", "n1", "n2", "acme/demo", "acme/demo-7b", "a=b", "running", "huggingface", "llamacpp", "/models/x.gguf", "viewer", "node", "correct horse battery staple 7",
	"2099-01-01T00:00:00Z", "x", "", " ", "..", "\x00", "a\nb", "ünïcode 🦙", "\u202e", "'; --", "<script>", "${HOME}", "%s%n", "--help", "-1", "true", strings.Repeat("long", 3000),
}

func (f *Fuzzer) text(name string) string {
	w := pick(f, texts)
	if !f.bent {
		w = pick(f, texts[:plainTexts])
	}
	if f.one(3) {
		return f.known(name, w)
	}
	return w
}

func (f *Fuzzer) oddHeader(c *Call) {
	switch f.rng.IntN(8) {
	case 0:
		c.Header["Content-Type"] = pick(f, []string{"text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "", ";;;", "application/vnd.api+json"})
	case 1:
		c.Header["X-Request-Id"] = pick(f, []string{"mine-1", "bad id", strings.Repeat("r", 4000), "<script>"})
	case 2:
		c.Header["Content-Encoding"] = pick(f, []string{"gzip", "br", "identity", "x"})
	case 3:
		c.Header["If-Match"] = pick(f, []string{"*", `"0"`, `"-1"`, "W/\"1\"", "soon", `"99999999999999999999"`, `"1", "2"`})
	case 4:
		c.Header["Idempotency-Key"] = pick(f, []string{"", strings.Repeat("k", 5000), "a b", "k\t1", "ü"})
	case 5:
		c.Header["Last-Event-ID"] = pick(f, []string{"0", "-1", "x", "99999999999999999999"})
		c.Stays = true
	case 6:
		c.Header["Host"] = pick(f, []string{"evil.example", "localhost:1", "[::1]", "", "127.0.0.1:99999"})
	case 7:
		c.Header["Accept"] = pick(f, []string{"text/html", "text/event-stream", "*/*;q=0", "x"})
		c.Stays = true
	}
}

// maxKnown bounds what is remembered of each kind.
const maxKnown = 24

// Learn takes in what an answer shows: ids to ask for, revisions to compare with.
func (f *Fuzzer) Learn(c Call, a Answer) {
	for _, name := range []string{"ETag", "Nebula-Next-Cursor"} {
		f.remember("header:"+name, a.Header.Get(name))
	}
	path, _, _ := strings.Cut(c.Path, "?")
	segments := strings.Split(strings.TrimPrefix(path, "/api/v2/"), "/")
	if a.Status < 300 {
		f.learn(segments[0], parse(a.Body), 0)
	}
	if a.Status == 201 {
		f.near = segments[0]
	}
}

func (f *Fuzzer) learn(collection string, v any, depth int) {
	switch v := v.(type) {
	case []any:
		for _, inner := range v {
			f.learn(collection, inner, depth)
		}
	case map[string]any:
		for _, k := range idFields {
			if s, ok := v[k].(string); ok && depth < 2 {
				f.remember("of:"+collection, s)
				break // the others are of other objects, or for people
			}
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if s, ok := v[k].(string); ok {
				f.remember(k, s)
				continue
			}
			f.learn(collection, v[k], depth+1)
		}
	}
}

// idFields are what objects are asked for by: the first of them that an object has.
var idFields = []string{"pull_id", "template_id", "model_uid", "uid", "node_id", "key_id", "id", "username", "name"}

func (f *Fuzzer) remember(key, value string) {
	if value == "" || len(value) > 300 || slices.Contains(f.seen[key], value) {
		return
	}
	if f.seen[key] = append(f.seen[key], value); len(f.seen[key]) > maxKnown {
		f.seen[key] = f.seen[key][1:]
	}
}
