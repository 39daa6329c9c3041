package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// oneGet is the size up to which a file is asked for whole, without a range.
const oneGet = 8 << 20

// Source is where the bytes of one file come from. Its methods are for any goroutine.
type Source struct {
	repo  Repo
	pin   Pin
	entry manifest.Entry

	mu sync.Mutex
	at location
}

// Source returns where the bytes of a listed file come from.
func (r Repo) Source(p Pin, e manifest.Entry) *Source { return &Source{repo: r, pin: p, entry: e} }

// Name is the hub's host.
func (s *Source) Name() string { return s.repo.origin.Host }

// Peer tells that this is the origin and no other node.
func (s *Source) Peer() bool { return false }

// location remembers where a file's content is, so that not every request asks the hub.
type location struct {
	address string
	until   time.Time // zero = no known end
}

func (s *Source) known() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.at.until.IsZero() && time.Until(s.at.until) < time.Minute {
		return ""
	}
	return s.at.address
}

func (s *Source) remember(l location) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = l
}

// forget drops a location that does not work any more, unless another request has found a new one.
func (s *Source) forget(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.address == address {
		s.at = location{}
	}
}

// Open asks for the file's bytes from offset from to offset to. The body holds exactly the bytes from there to end, which is not before to; its
// errors, but for io.EOF at end, are *fail.Error or the context's. What an answer says about itself is checked; what the bytes are is for the hash
// to say.
func (s *Source) Open(ctx context.Context, from, to int64) (body io.ReadCloser, end int64, err error) {
	byteRange := ""
	if from > 0 || to < s.entry.Size || s.entry.Size > oneGet {
		byteRange = fmt.Sprintf("bytes=%d-%d", from, to-1)
	}
	address := s.known()
	if address == "" {
		address = s.repo.base + "/" + s.repo.name + "/resolve/" + s.pin.Commit + "/" + escapePath(s.entry.Path)
	}
	a, err := s.repo.follow(ctx, address, byteRange, func(at *url.URL) {
		if !sameOrigin(at, s.repo.origin) { // kept also when it fails now: the hub need not be asked again
			address = at.String()
			s.remember(location{address, expiry(at)})
		}
	})
	if err != nil {
		if fail.Has(err, fail.ExpiredAddress) {
			s.forget(address)
		}
		return nil, 0, err
	}
	end, err = s.repo.check(a, s.pin, s.entry, from, to)
	if err != nil {
		_ = a.Body.Close()
		return nil, 0, err
	}
	return &stretch{a, s.entry, end - from}, end, nil
}

// stretch is the body of an answer with a known length.
type stretch struct {
	*answer
	entry manifest.Entry
	left  int64
}

// Read reads the body up to its end; ending earlier is an error.
func (s *stretch) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, io.EOF
	}
	n, err := s.Body.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	if err != nil {
		if s.left <= 0 {
			return n, io.EOF
		}
		err = ended(s.answer, s.entry, err)
	}
	return n, err
}

// Close ends the request.
func (s *stretch) Close() error { return s.Body.Close() }

// check compares what an answer says with what the listing said, brings it to offset from, and returns where it ends.
func (r Repo) check(a *answer, p Pin, e manifest.Entry, from, to int64) (int64, error) {
	bad := func(format string, args ...any) error {
		return fail.Passing(api.FailDownload, fail.BadServer, "%s sent %s of %q", a.at.Host, fmt.Sprintf(format, args...), e.Path)
	}
	l := a.linked
	if l.commit != "" && l.commit != p.Commit || manifest.IsHex(l.etag) && l.etag != e.Hex ||
		l.size != "" && l.size != strconv.FormatInt(e.Size, 10) {
		return 0, fail.Passing(api.FailHub, fail.NoEntry, "%s lists one version of %q and serves another", r.origin.Host, e.Path)
	}
	if enc := a.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return 0, bad("a compressed copy (%s)", fail.Clip(enc))
	}
	start := int64(0)
	if a.StatusCode == http.StatusPartialContent {
		first, end, total, ok := parseContentRange(a.Header.Get("Content-Range"))
		if !ok || first != from || end != to || total != e.Size {
			return 0, bad("other bytes (%s) than bytes %d-%d/%d", fail.Clip(a.Header.Get("Content-Range")), from, to-1, e.Size)
		}
		start = from
	} else { // the server ignores ranges: everything comes
		to = e.Size
	}
	if a.ContentLength >= 0 && a.ContentLength != to-start {
		return 0, bad("%d bytes instead of %d", a.ContentLength, to-start)
	}
	if start < from {
		if _, err := io.CopyN(io.Discard, a.Body, from-start); err != nil {
			return 0, ended(a, e, err)
		}
	}
	return to, nil
}

// ended explains a body that stopped before its end.
func ended(a *answer, e manifest.Entry, err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return fail.Passing(api.FailDownload, fail.Network, "the connection to %s ended inside %q", a.at.Host, e.Path).Because(err)
}

func escapePath(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// expiry reads when a signed address stops working; zero when it does not say.
func expiry(u *url.URL) time.Time {
	s, err := strconv.ParseInt(u.Query().Get("Expires"), 10, 64)
	if err != nil || s <= 0 {
		return time.Time{}
	}
	return time.Unix(s, 0)
}
