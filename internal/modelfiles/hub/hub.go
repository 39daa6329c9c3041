// Package hub speaks the wire protocols of model hubs: what a revision is, which files it has, and their bytes. A credential goes to the exact
// scheme, host and port it was given for; redirects are followed by hand. What the bytes are is for others to verify.
package hub

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// Where models come from when nobody says otherwise.
const (
	Default      = "https://huggingface.co"
	DefaultScope = "https://modelscope.cn"
)

// Config says which hub to speak with, and how. Only Endpoint is needed.
type Config struct {
	Source     api.ModelSource // whose protocol it speaks; empty = Hugging Face's
	Endpoint   string          // of the hub or a mirror of it
	Token      string          // for Endpoint only; never logged
	UserAgent  string
	Log        *slog.Logger
	Transport  http.RoundTripper                     // instead of Nebula's own, for tests
	Proxy      func(*http.Request) (*url.URL, error) // e.g. http.ProxyFromEnvironment; nil = none
	Patience   Patience                              // zero = the default
	MaxEntries int                                   // of a listing; 0 = 200,000
}

// Patience says how long to bear with a hub.
type Patience struct {
	FirstDelay, MaxDelay time.Duration // between tries, doubling, with jitter
	Tries                int           // in a row without a new byte
	Stall                time.Duration // without a byte, before the connection is given up
	MaxPark              time.Duration // longest obedience to one Retry-After
}

// DefaultPatience is that of a node.
func DefaultPatience() Patience {
	return Patience{time.Second, 30 * time.Second, 6, 10 * time.Second, 15 * time.Minute}
}

// Pin is one state of a repository. Commit names it for ever.
type Pin struct {
	Repo, Revision, Commit string

	// Moves tells that the hub has no name for a state: Commit was worked out from the listing, files are asked for by
	// revision, and somebody may change them in between.
	Moves bool
}

// Repo is one repository of a hub, asked for with one credential. It is for one goroutine; its sources are for any.
type Repo interface {
	// Resolve finds out which state a revision is now.
	Resolve(ctx context.Context, revision string) (Pin, error)
	// List returns every file of a state.
	List(ctx context.Context, p Pin) ([]manifest.Entry, error)
	// Source returns where the bytes of a listed file come from.
	Source(p Pin, e manifest.Entry) *Source
}

// Client speaks HTTP with one hub and wherever it redirects to. It follows redirects by hand, so that the credential goes
// to the hub's exact scheme, host and port and nowhere else, and waits when the hub asks for it.
type Client struct {
	http     *http.Client
	source   api.ModelSource
	base     string   // of every address, without a trailing slash
	origin   *url.URL // base, parsed
	token    string
	agent    string
	patience Patience
	entries  int // most that a listing may have
	log      *slog.Logger

	parked *parking
}

// New returns a client. It touches no network.
func New(cfg Config) (*Client, error) {
	base := strings.TrimRight(cfg.Endpoint, "/")
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not the address of a hub: use https://HOST or http://HOST", api.WithoutUser(base))
	}
	if cfg.Source == "" {
		cfg.Source = api.SourceHuggingFace
	}
	if cfg.Transport == nil {
		cfg.Transport = Transport(cfg.Proxy)
	}
	if cfg.Patience == (Patience{}) {
		cfg.Patience = DefaultPatience()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxEntries == 0 {
		cfg.MaxEntries = maxEntries
	}
	return &Client{
		http: &http.Client{
			Transport:     cfg.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		source: cfg.Source, base: base, origin: u, token: strings.TrimSpace(cfg.Token), agent: cfg.UserAgent, patience: cfg.Patience,
		entries: cfg.MaxEntries, log: cfg.Log, parked: &parking{until: map[string]time.Time{}},
	}, nil
}

// As returns a client of the same hub that shows another credential. Both wait together when the hub says so.
func (w *Client) As(token string) *Client {
	other := *w
	other.token = strings.TrimSpace(token)
	return &other
}

// DefaultRevision is the branch that is meant when none is named.
func (w *Client) DefaultRevision() string {
	if w.source == api.SourceModelScope {
		return "master"
	}
	return "main"
}

// Pin names a state of a repository that was resolved before.
func (w *Client) Pin(repo, revision, commit string) Pin {
	return Pin{repo, revision, commit, w.source == api.SourceModelScope}
}

// Repo returns a repository whose name [Client.Check] has let pass.
func (w *Client) Repo(name string) Repo {
	if w.source == api.SourceModelScope {
		return &scopeRepo{Client: w, name: name}
	}
	return faceRepo{w, name}
}

var repoName = regexp.MustCompile(`^\w([\w.-]{0,94}\w)?(/\w([\w.-]{0,94}\w)?)?$`)

// Check applies the hub's grammar once more: the name becomes part of addresses and of a folder's name. It also refuses a
// token that could not be one.
func (w *Client) Check(name, revision string) error {
	if !repoName.MatchString(name) || strings.Contains(name, "--") || strings.Contains(name, "..") || strings.HasSuffix(name, ".git") {
		return fail.Final(api.FailInvalidModel, fail.UnsafeName, "%q is not the name of a repository: use NAME or OWNER/NAME", fail.Clip(name))
	}
	if w.source == api.SourceModelScope && !strings.Contains(name, "/") {
		return fail.Final(api.FailInvalidModel, fail.UnsafeName, "%q is not the name of a ModelScope repository: use OWNER/NAME", fail.Clip(name))
	}
	if why := manifest.NameFault(revision); why != "" || len(revision) > manifest.MaxSegment || strings.Contains(revision, "..") {
		return fail.Final(api.FailInvalidModel, fail.UnsafeName, "%q is not a revision: use a branch, a tag or a commit", fail.Clip(revision))
	}
	if strings.ContainsFunc(w.token, func(r rune) bool { return r <= ' ' || r > '~' || r == ';' || r == ',' || r == '"' }) {
		return fail.Final(api.FailHubAuth, fail.BadToken, "the token for %s holds characters that no token has, such as a space or a line feed. Set it again.", w.origin.Host)
	}
	return nil
}

// Transport speaks HTTP/1.1 only: over HTTP/2 parallel ranges would share one connection and its speed.
func Transport(proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	only1 := new(http.Protocols)
	only1.SetHTTP1(true)
	return &http.Transport{
		Proxy:               proxy,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     90 * time.Second,
		ReadBufferSize:      64 << 10, // a read of at least as much goes past it
		DisableCompression:  true,
		Protocols:           only1,
	}
}
