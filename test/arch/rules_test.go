package arch

// module is the import path that every rule below is relative to.
const module = "github.com/nebula-serve/nebula"

// rule says what one package, and every package below it, may import. Tests of a package are free.
type rule struct {
	pkg string
	// may lists the packages of ours, each with what lies below it.
	may []string
	// never lists what stays forbidden from outside the module: an import path, or a path and "/..." for
	// all of a tree. Only packages that are meant to be free of effects need it.
	never []string
	// noThirdParty allows the standard library and the packages in may alone.
	noThirdParty bool
	why          string
}

// everything, in may, stands for all packages but cmd and test.
const everything = "*"

var effects = []string{"os", "os/...", "net", "net/http", "net/http/...", "log", "log/...", "syscall"}

// rules is the import table: one row for each package of the repository. The more specific row wins.
var rules = []rule{
	{pkg: "api", never: effects, noThirdParty: true, why: "nouns only: standard library, no I/O, no clock"},
	{pkg: "client", may: []string{"api"}, why: "other people's programs import it"},
	{pkg: "internal/cluster", may: []string{"api"}, never: effects, why: "the state as one value: pure"},
	{pkg: "internal/cluster/clustertest", may: []string{"api", "internal/cluster"}, why: "clusters as text, for tests only: reads case files"},
	{pkg: "internal/engine", may: []string{"api"}, never: effects, noThirdParty: true, why: "plans a launch, runs nothing"},
	{pkg: "internal/modelfiles", may: []string{"api", "internal/modelfiles/fail", "internal/modelfiles/manifest"}, why: "progress leaves through a callback"},
	{pkg: "internal/modelfiles/fail", may: []string{"api"}, never: effects, noThirdParty: true, why: "why files are not here, in words"},
	{pkg: "internal/modelfiles/disk", may: []string{"api", "internal/modelfiles/fail"}, why: "the file system under the models"},
	{pkg: "internal/modelfiles/transfer", may: []string{"api", "internal/modelfiles/disk", "internal/modelfiles/fail", "internal/modelfiles/manifest"}, why: "one blob from its sources to the disk; knows no hub and no cache"},
	{pkg: "internal/modelfiles/manifest", may: []string{"api", "internal/modelfiles/fail"}, never: effects, noThirdParty: true, why: "chooses files from a listing: pure"},
	{pkg: "internal/modelfiles/peer", may: []string{"api", "internal/modelfiles/fail", "internal/modelfiles/manifest", "internal/modelfiles/transfer"}, why: "files from and for other nodes; knows no cluster"},
	{pkg: "internal/hw", may: []string{"api"}, why: "reads the machine, knows no cluster"},
	{pkg: "internal/demomodel", may: []string{"api"}, why: "writes a model file; its errors are for people"},
	{pkg: "internal/supervise", may: []string{"api", "internal/engine"}, why: "runs a launch, knows no store and no agent"},
	{pkg: "internal/catalog", may: []string{"api", "internal/cluster"}, never: effects, why: "the built-in templates, and the list of all: reads one embedded file"},
	{pkg: "internal/store", may: []string{"api", "internal/cluster"}, why: "tables over a key-value interface that it declares"},
	{pkg: "internal/etcd", may: []string{"internal/store"}, why: "moves bytes: the only importer of go.etcd.io"},
	{pkg: "internal/etcd/etcdtest", may: []string{"internal/etcd"}, why: "a real etcd inside a test, for tests only"},
	{pkg: "internal/scheduler", may: []string{"api", "internal/cluster"}, why: "declares the store that it needs"},
	{pkg: "internal/agent", may: []string{"api", "internal/cluster", "internal/engine"}, why: "declares Link, Files and Runner"},
	{pkg: "internal/registry", may: []string{"api", "internal/cluster", "internal/store"}, why: "the server's side of a node: the only writer of a node's facts"},
	{pkg: "internal/pki", may: []string{"api"}, why: "the cluster's certificates, tokens and signatures: no protocol, no store"},
	{pkg: "internal/secret", may: []string{"api"}, why: "the seal of stored secrets: no protocol, no store"},
	{pkg: "internal/link", may: []string{"api", "client", "internal/pki"}, why: "a machine's side of its connection to the servers"},
	{pkg: "internal/nodeapi", may: []string{"api", "internal/gateway/upstream", "internal/obs", "internal/pki"}, why: "the one port of a node: engines, logs, files"},
	{pkg: "internal/feed", may: []string{"api", "internal/store", "internal/pki"}, why: "the store for gateways on machines of their own: reads alone"},
	{pkg: "internal/gateway/upstream", may: []string{}, why: "a lean HTTP/1.1 client for engines, here or behind a node; knows no component"},
	{pkg: "internal/obs", may: []string{"api"}, why: "metrics and request log; knows no component"},
	{pkg: "internal/auth", may: []string{"api", "internal/cluster"}, why: "who is asking, and with which role"},
	{pkg: "internal/gateway", may: []string{"api", "internal/cluster", "internal/obs"}, why: "declares a read-only view: it cannot write"},
	{pkg: "internal/audit", may: []string{"api"}, never: effects, why: "records of the audit log and their chain: pure"},
	{pkg: "internal/live", may: []string{"api", "internal/cluster"}, why: "what people watch, encoded once for all of them: reads alone"},
	{pkg: "internal/history", may: []string{"api", "internal/cluster"}, why: "what Nebula did with models, as events: declares the store that it needs"},
	{pkg: "internal/control", may: []string{"api", "internal/audit", "internal/catalog", "internal/cluster", "internal/store", "internal/pki"}, why: "waits for its own commit, never for an effect"},
	{pkg: "internal/openapi", may: []string{"api", "internal/openapi"}, why: "the API as a document and a page, from rows: serves nothing"},
	{pkg: "internal/openid", may: []string{"api"}, why: "who somebody is at an OpenID provider: no users, no cookies"},
	{pkg: "internal/httpapi", may: []string{"api", "internal/catalog", "internal/cluster", "internal/control", "internal/auth", "internal/live", "internal/obs", "internal/openapi", "internal/openid", "internal/pki"}, why: "translates HTTP into verbs and views"},
	{pkg: "web", may: []string{}, never: effects, noThirdParty: true, why: "the files of the console: serves nothing"},
	{pkg: "internal/apply", may: []string{"api"}, never: effects, why: "documents to changes: decides what apply does, pure"},
	{pkg: "internal/app", may: []string{everything}, why: "the only place where concrete meets concrete"},
	{pkg: "internal/cli", may: []string{"api", "client", "internal/app", "internal/apply", "internal/audit", "internal/demomodel", "internal/openid"}, why: "a client of the REST API, and the way into app"},
	{pkg: "cmd", may: []string{"internal/cli"}, why: "calls cli.Main and nothing else"},
	{pkg: "test", may: []string{everything}, why: "tests the outside as outside"},
}

// exclusive lists outside packages that only one part of ours may import.
var exclusive = []struct {
	path string
	may  []string
	why  string
}{
	{"go.etcd.io/", []string{"internal/etcd", "test"}, "everything else speaks to the store through internal/store"},
	{"google.golang.org/grpc", []string{"internal/etcd"}, "our own parts talk JSON over HTTP; gRPC is etcd's"},
	{"github.com/spf13/", []string{"internal/cli"}, "flags are read in one place"},
	{"os/exec", []string{"internal/supervise", "internal/hw", "internal/etcd", "internal/app", "internal/cli", "test"}, "few places start processes"},
}

// pure lists code that decides: it takes the time as an argument and reads no clock, tests included.
// A row is a package, or a package and the beginning of file names in it.
var pure = []struct{ pkg, files string }{
	{"api", ""},
	{"internal/apply", ""},
	{"internal/cluster", ""},
	{"internal/engine", ""},
	{"internal/scheduler", "plan"},
	{"internal/scheduler", "fit"},
	{"internal/agent", "plan"},
	{"internal/history", "events"},
	{"internal/link", "wish"},
	{"internal/gateway", "table"},
	{"internal/gateway", "pick"},
	{"internal/gateway", "reach"},
	{"internal/modelfiles/manifest", ""},
	{"internal/modelfiles/transfer", "span"},
	{"internal/modelfiles/transfer", "plan"},
	{"internal/modelfiles/transfer", "ramp"},
	{"internal/modelfiles/transfer", "pick"},
	{"internal/modelfiles/peer", "choose"},
	{"internal/modelfiles/cache", "evict"},
}

// clock lists what a pure file may not call in package time.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// noNames are package names that say nothing about the domain.
var noNames = []string{"util", "utils", "common", "helper", "helpers", "types", "models", "manager", "service", "base", "misc", "shared"}
