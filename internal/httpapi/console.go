package httpapi

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io/fs"
	"maps"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
)

// nonceMark stands in the console's page wherever a nonce belongs.
const nonceMark = "__CSP_NONCE__"

// assetMedia is the media type of what the console is made of, by the ending of a name. What is not here is not served.
var assetMedia = map[string]string{
	".js":    "text/javascript; charset=utf-8",
	".css":   "text/css; charset=utf-8",
	".svg":   "image/svg+xml",
	".png":   "image/png",
	".woff2": "font/woff2",
}

// consoleRoutes are the rows about the files of the web console. Its page is at / and at whatever address no row has.
func (s *server) consoleRoutes() []Route {
	var media []string
	for _, m := range slices.Sorted(maps.Values(assetMedia)) {
		kind, _, _ := strings.Cut(m, ";")
		media = append(media, kind)
	}
	return []Route{
		{Method: "GET", Path: "/assets/{file}", Role: auth.Public, Summary: "A file of the web console; its name changes with what is in it", Media: strings.Join(media, ", "), Has: Cached, Handle: s.asset},
		{Method: "GET", Path: "/favicon.svg", Role: auth.Public, Summary: "The picture of the web console", Media: "image/svg+xml", Errors: []api.Code{api.CodeNotFound}, Has: Cached, Handle: s.favicon},
	}
}

// console is the web console as this process serves it; it never changes.
type console struct {
	page   []string // what is between the nonces
	assets map[string]*asset
	icon   *asset   // nil: it has none
	left   []string // files of kinds that are not served
}

// asset is one file of the console. It is packed when it is first asked for.
type asset struct {
	media string
	load  func() (packed, error)
}

// packed is a file as it is sent.
type packed struct {
	plain, small       []byte // small is by gzip; nil where that saves nothing
	plainTag, smallTag string
}

// newConsole reads the names of the console's files, and its page.
func newConsole(files fs.FS) (*console, error) {
	page, err := fs.ReadFile(files, "index.html")
	if err != nil {
		return nil, fmt.Errorf("read the page of the console: %w", err)
	}
	c := &console{page: strings.Split(string(page), nonceMark), assets: map[string]*asset{}}
	names, err := fs.Glob(files, "assets/*")
	if err != nil {
		return nil, fmt.Errorf("list the files of the console: %w", err)
	}
	for _, name := range names {
		if a := newAsset(files, name); a != nil {
			c.assets[path.Base(name)] = a
		} else {
			c.left = append(c.left, name)
		}
	}
	if _, err := fs.Stat(files, "favicon.svg"); err == nil {
		c.icon = newAsset(files, "favicon.svg")
	}
	return c, nil
}

func newAsset(files fs.FS, name string) *asset {
	media := assetMedia[path.Ext(name)]
	if media == "" {
		return nil
	}
	return &asset{media: media, load: sync.OnceValues(func() (packed, error) {
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return packed{}, fmt.Errorf("read %s of the console: %w", name, err)
		}
		p := packed{plain: b, plainTag: contentTag(b)}
		if small, err := squeeze(b); err != nil {
			return packed{}, fmt.Errorf("pack %s of the console: %w", name, err)
		} else if len(small) < len(b)*9/10 {
			p.small, p.smallTag = small, contentTag(small)
		}
		return p, nil
	})}
}

func squeeze(b []byte) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(b); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return slices.Clip(out.Bytes()), nil
}

func (s *server) asset(w http.ResponseWriter, r *http.Request) error {
	var a *asset
	if s.console != nil {
		a = s.console.assets[r.PathValue("file")]
	}
	// Names hold a hash of the content: what has one never changes.
	return sendAsset(w, r, a, "public, max-age=31536000, immutable")
}

func (s *server) favicon(w http.ResponseWriter, r *http.Request) error {
	var a *asset
	if s.console != nil {
		a = s.console.icon
	}
	return sendAsset(w, r, a, "public, max-age=3600")
}

// sendAsset sends a file of the console, packed if the caller takes that. All answers say when they may be kept, refusals that they may not.
func sendAsset(w http.ResponseWriter, r *http.Request, a *asset, keep string) error {
	if a == nil {
		return api.Errorf(api.CodeNotFound, "the web console has no file %.80q: load its page anew", r.URL.Path)
	}
	p, err := a.load()
	if err != nil {
		return err
	}
	h := w.Header()
	body, tag := p.plain, p.plainTag
	if p.small != nil {
		h.Set("Vary", "Accept-Encoding")
		if takesGzip(r.Header.Values("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			body, tag = p.small, p.smallTag
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	return sendKept(w, r, kept{media: a.media, tag: tag, keep: keep, body: body})
}

// takesGzip reads Accept-Encoding: what names gzip itself counts before "*".
func takesGzip(accept []string) bool {
	any := false
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		coding, weight, _ := strings.Cut(part, ";")
		takes := !refuses(weight)
		switch strings.ToLower(strings.TrimSpace(coding)) {
		case "gzip", "x-gzip":
			return takes
		case "*":
			any = takes
		}
	}
	return any
}

// refuses tells whether a weight, as "q=0.5", is none at all.
func refuses(weight string) bool {
	name, value, given := strings.Cut(strings.ToLower(strings.ReplaceAll(weight, " ", "")), "=")
	if !given || name != "q" {
		return false
	}
	q, err := strconv.ParseFloat(value, 64)
	return err != nil || q <= 0
}

// index is the page at /: the console's, or what this process is where it has none.
func (s *server) index(w http.ResponseWriter, _ *http.Request) error {
	if s.console != nil {
		s.console.send(w)
		return nil
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	text := "Nebula is running.\n\n" +
		"  OpenAI-compatible endpoint   /v1\n" +
		"  REST API                     /api/v2, described at /api/docs\n" +
		"  health                       /healthz /readyz\n\n" +
		"This binary was built without the web console; the API and the command line (nebula --help) do all that it does.\n" +
		"To have the console: run \"make\" in Nebula's source on a machine with node 20.19 or newer, and start bin/nebula.\n"
	if s.Control == nil {
		text = "A gateway of Nebula is running.\n\n" +
			"  OpenAI-compatible endpoint   /v1\n" +
			"  health                       /healthz /readyz\n\n" +
			"The web console and the REST API are at the cluster's servers.\n"
	}
	_, _ = w.Write([]byte(text)) // the caller may have left
	return nil
}

// send answers with the console's page. Its scripts and styles run because they bear a nonce that is in this answer alone.
func (c *console) send(w http.ResponseWriter) {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails, by its documentation
	nonce := base64.RawURLEncoding.EncodeToString(b)
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self' 'nonce-"+nonce+"'; style-src 'self' 'nonce-"+nonce+"'; img-src 'self' data:; font-src 'self'; "+
		"connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(strings.Join(c.page, nonce))) // the caller may have left
}

// apart are the paths, with all below them, that are never the console's.
var apart = []string{"/api", "/v1", "/assets", "/metrics", "/healthz", "/readyz"}

// wantsPage tells whether a request that no row has is a browser's for a page of the console: it finds out itself which one. Programs, which do not
// ask for HTML, are told what they always were.
func wantsPage(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	for _, p := range apart {
		if r.URL.Path == p || strings.HasPrefix(r.URL.Path, p+"/") {
			return false
		}
	}
	return takesHTML(r)
}

// takesHTML tells whether a caller asks for HTML by name, as browsers do.
func takesHTML(r *http.Request) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		kind, params, err := mime.ParseMediaType(part)
		if err == nil && kind == "text/html" {
			q, given := params["q"]
			return !given || !refuses("q="+q)
		}
	}
	return false
}
