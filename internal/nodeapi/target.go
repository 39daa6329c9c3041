package nodeapi

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// Paths of the port. Every other one is answered with 404, also those that a more generous reading would take for one of these.
const (
	healthPath   = "/healthz"
	enginePrefix = "/engines/"
	blobPrefix   = "/blobs/"
	prunePath    = "/cache/prune"
	evictPath    = "/cache/evict"
	verifyPath   = "/cache/verify"
)

type what int

const (
	health    what = iota
	engineLog      // of a replica's engine
	enginePost
	engineGet
	blobGet // also HEAD
	cachePrune
	cacheEvict
	cacheVerify
	engineFigures // what an engine counts
)

// target is what a request is for.
type target struct {
	what    what
	uid     string
	replica uint32
	path    string // of the engine's own, from the list below

	algo, hash string // of a blob
}

// enginePaths are what engines may be asked, and nothing else: they have other paths that load, unload and reveal.
var enginePaths = map[string]target{
	"v1/chat/completions": {what: enginePost, path: "/v1/chat/completions"},
	"v1/completions":      {what: enginePost, path: "/v1/completions"},
	"v1/embeddings":       {what: enginePost, path: "/v1/embeddings"},
	"v1/models":           {what: engineGet, path: "/v1/models"},
	"log":                 {what: engineLog},
	"metrics":             {what: engineFigures, path: "/metrics"},
}

var methods = [...]string{health: http.MethodGet, engineLog: http.MethodGet, enginePost: http.MethodPost, engineGet: http.MethodGet, blobGet: http.MethodGet, cachePrune: http.MethodPost, cacheEvict: http.MethodPost, cacheVerify: http.MethodPost, engineFigures: http.MethodGet}

// parseTarget reads method and path. Each target has one spelling: no escapes, no dots, no doubled slashes; a log alone takes a query.
func parseTarget(r *http.Request) (target, bool) {
	t, ok := parsePath(r.URL.Path)
	method := r.Method == methods[t.what] || t.what == blobGet && r.Method == http.MethodHead
	ok = ok && r.URL.RawPath == "" && method && r.RequestURI == r.URL.RequestURI()
	return t, ok && (t.what == engineLog || r.URL.RawQuery == "" && !r.URL.ForceQuery)
}

func parsePath(path string) (target, bool) {
	switch path {
	case healthPath:
		return target{what: health}, true
	case prunePath:
		return target{what: cachePrune}, true
	case evictPath:
		return target{what: cacheEvict}, true
	case verifyPath:
		return target{what: cacheVerify}, true
	}
	if name, ok := strings.CutPrefix(path, blobPrefix); ok {
		algo, hash, _ := strings.Cut(name, "/")
		digits, known := blobAlgos[algo]
		return target{what: blobGet, algo: algo, hash: hash}, known && len(hash) == digits && api.ValidBlobHash(hash)
	}
	rest, ok := strings.CutPrefix(path, enginePrefix)
	uid, rest, more := strings.Cut(rest, "/")
	number, rest, more2 := strings.Cut(rest, "/")
	t, known := enginePaths[rest]
	n, err := strconv.ParseUint(number, 10, 32)
	if !ok || !more || !more2 || !known || !api.KnownUID(uid) || err != nil || strconv.FormatUint(n, 10) != number {
		return target{}, false
	}
	t.uid, t.replica = uid, uint32(n)
	return t, true
}

// blobAlgos are the ways in which blobs are named, with the hex digits of a name.
var blobAlgos = map[string]int{"sha256": 64, "git-sha1": 40}

// allows tells whether a machine of that role may ask for this. Servers route requests too.
func (t target) allows(role api.MachineRole) bool {
	switch t.what {
	case health:
		return true
	case engineLog, cachePrune, cacheEvict, cacheVerify, engineFigures:
		return role == api.MachineServer
	case blobGet:
		return role == api.MachineNode
	}
	return role == api.MachineGateway || role == api.MachineServer
}
