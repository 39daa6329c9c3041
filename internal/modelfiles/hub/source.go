package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// oneGet is the size up to which a file is asked for whole, without a range.
const oneGet = 8 << 20

// Source is where the bytes of one file come from. Its methods are for any goroutine: the hub is asked once where the file
// is, however many requests wait for the answer, and once more when that address stops working.
type Source struct {
	client *Client
	pin    Pin
	entry  manifest.Entry
	file   string // address at the hub

	mu      sync.Mutex
	at      *place
	search  *search // that runs
	refused int     // addresses in a row that worked for the request that found them and for no other
}

// maxRefused is how many such addresses it takes to believe that each is good for one request only.
const maxRefused = 3

// place is an address that has the file's content.
type place struct {
	at      *url.URL
	trusted bool      // it is the hub's own
	until   time.Time // zero = no known end
	shared  bool      // others use it too
}

// search is one request to the hub that finds the place for all who wait.
type search struct {
	done chan struct{}
	err  error // for those who wait; nil also when only the searching request was cancelled
}

func newSource(w *Client, file string, p Pin, e manifest.Entry) *Source {
	return &Source{client: w, pin: p, entry: e, file: file}
}

// Name is the hub's host.
func (s *Source) Name() string { return s.client.origin.Host }

// Peer tells that this is the origin and no other node.
func (s *Source) Peer() bool { return false }

// Open asks for the file's bytes from offset from to offset to. The body holds exactly the bytes from there to end, which is not after to; its
// errors, but for io.EOF at end, are *fail.Error or the context's. What an answer says about itself is checked; what the bytes are is for the hash
// to say. A server that gives whole files only is [fail.RangeIgnored] for every offset but 0.
func (s *Source) Open(ctx context.Context, from, to int64) (body io.ReadCloser, end int64, err error) {
	q := ask{file: &s.entry}
	if from > 0 || to < s.entry.Size || s.entry.Size > oneGet {
		q.span = fmt.Sprintf("bytes=%d-%d", from, to-1)
	}
	a, err := s.reach(ctx, q)
	if err != nil {
		return nil, 0, err
	}
	if err := s.check(a, from, to); err != nil {
		_ = a.Body.Close()
		return nil, 0, err
	}
	return &stretch{a, s.entry, to - from}, to, nil
}

// reach asks where the file is known to be, or finds that out.
func (s *Source) reach(ctx context.Context, q ask) (*answer, error) {
	for tries := 0; ; tries++ {
		known, other := s.where(tries < 2)
		switch {
		case known != nil:
			q.at, q.trusted, q.found = known.at, known.trusted, nil
			a, err := s.client.follow(ctx, q)
			if !fail.Has(err, fail.ExpiredAddress) && (!known.trusted || !fail.Has(err, fail.NotFound)) {
				s.works(err)
				return a, err
			}
			s.forget(known)
		case other != nil:
			select {
			case <-other.done:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if other.err != nil {
				return nil, other.err
			}
		default:
			a, again, err := s.find(ctx, q)
			if !again {
				return a, err
			}
		}
	}
}

// where returns the known place or who looks for it; neither when the caller is to look. An address that does not keep its
// promise is not shared.
func (s *Source) where(share bool) (*place, *search) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !share || s.refused >= maxRefused:
		return nil, nil
	case s.at != nil && (s.at.until.IsZero() || time.Until(s.at.until) > 0):
		s.at.shared = true
		return s.at, nil
	case s.search != nil:
		return nil, s.search
	}
	s.search = &search{done: make(chan struct{})}
	return nil, nil
}

// find asks the hub, and lets those who wait go on as soon as it is known where to. It is worth doing again when they used
// the address up.
func (s *Source) find(ctx context.Context, q ask) (a *answer, again bool, err error) {
	at, err := url.Parse(s.file)
	if err != nil {
		err = fail.Final(api.FailHub, fail.BadServer, "%q makes no address", fail.Clip(s.entry.Path)).Because(err)
		s.settle(nil, err)
		return nil, false, err
	}
	var to *place
	q.at, q.trusted = at, true
	q.found = func(p place) {
		to = &p
		s.settle(to, nil)
	}
	a, err = s.client.follow(ctx, q)
	switch {
	case to != nil:
		again = fail.Has(err, fail.ExpiredAddress) && s.forget(to)
	case err == nil: // the hub has it itself
		s.settle(&place{at: a.at, trusted: a.trusted}, nil)
	case ctx.Err() != nil:
		s.settle(nil, nil) // that is nobody else's failure
	default:
		s.settle(nil, err)
	}
	return a, again, err
}

// settle ends the search. An address that says for which bytes it was signed is no use to others.
func (s *Source) settle(p *place, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = p
	if p != nil && p.at.Query().Has("X-Xet-Signed-Range") {
		s.at, s.refused = nil, maxRefused
	}
	if s.search != nil {
		s.search.err = err
		close(s.search.done)
		s.search = nil
	}
}

// works notes that a known address was good for one more request.
func (s *Source) works(err error) {
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = 0
}

// forget drops a place that does not work any more, unless another request has found a new one. It tells whether the place
// was shared.
func (s *Source) forget(p *place) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == p {
		s.at = nil
		s.refused++
	}
	return p.shared
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

// check compares what an answer says with what the listing said.
func (s *Source) check(a *answer, from, to int64) error {
	e := s.entry
	bad := func(format string, args ...any) error {
		return fail.Passing(api.FailDownload, fail.BadServer, "%s sent %s of %q", a.at.Host, fmt.Sprintf(format, args...), e.Path)
	}
	l := a.linked
	if l.commit != "" && l.commit != s.pin.Commit && !s.pin.Moves || manifest.IsHex(l.etag) && e.Known() && l.etag != e.Hex ||
		l.size != "" && l.size != strconv.FormatInt(e.Size, 10) {
		return s.changed()
	}
	if enc := a.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return bad("a compressed copy (%s)", fail.Clip(enc))
	}
	whole := a.StatusCode != http.StatusPartialContent
	length := to - from
	if whole {
		length = e.Size
	} else if first, end, total, ok := parseContentRange(a.Header.Get("Content-Range")); !ok || first != from || end != to || total != e.Size {
		if ok && total != e.Size && s.pin.Moves {
			return s.changed()
		}
		return bad("other bytes (%s) than bytes %d-%d/%d", fail.Clip(a.Header.Get("Content-Range")), from, to-1, e.Size)
	}
	if a.ContentLength >= 0 && a.ContentLength != length {
		if whole && s.pin.Moves {
			return s.changed()
		}
		return bad("%d bytes instead of %d", a.ContentLength, length)
	}
	if whole && from > 0 {
		return fail.Passing(api.FailDownload, fail.RangeIgnored, "%s sends %q only as a whole", a.at.Host, fail.Clip(e.Path))
	}
	return nil
}

// changed is what it means when the listing is not about the file that comes.
func (s *Source) changed() error {
	return fail.Passing(api.FailHub, fail.NoEntry, "%s lists one version of %q and serves another", s.client.origin.Host, fail.Clip(s.entry.Path))
}

// ended explains a body that stopped before its end.
func ended(a *answer, e manifest.Entry, err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return fail.Passing(api.FailDownload, fail.Network, "the connection to %s ended inside %q", a.at.Host, e.Path).Because(err)
}

// spare is how long before its end an address is not used any more.
const spare = time.Minute

// usableUntil works out when a signed address stops being worth using; zero when it does not say. How long it is good for
// goes by the hub's own clock, since this machine's may be wrong. One that ends at once is used until it is refused.
func usableUntil(u *url.URL, said http.Header, now time.Time) time.Time {
	issued, err := http.ParseTime(said.Get("Date"))
	if err != nil {
		issued = now
	}
	var life time.Duration
	q := u.Query()
	if s, err := strconv.ParseInt(q.Get("Expires"), 10, 64); err == nil && s > 0 {
		life = time.Unix(s, 0).Sub(issued)
	}
	for _, key := range []string{"X-Amz-Expires", "x-oss-expires"} {
		if s, err := strconv.ParseInt(q.Get(key), 10, 32); err == nil && s > 0 && life == 0 {
			life = time.Duration(s) * time.Second
		}
	}
	if life <= spare {
		return time.Time{}
	}
	return now.Add(life - spare)
}
