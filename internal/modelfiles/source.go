package modelfiles

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// oneGet is the size up to which a file is asked for whole, without a range.
const oneGet = 8 << 20

// segment is the most that one request asks for: a CDN does not serve files of any size in one answer.
const segment = 1 << 30

// location remembers where a file's content is, so that not every request asks the hub.
type location struct {
	address string
	until   time.Time // zero = no known end
}

// stretch is an answer with a file's bytes from one offset on.
type stretch struct {
	*answer
	end int64 // offset in the file after the last byte that comes
}

// open asks for e's bytes from offset from on. It checks everything that an answer says about itself; what the bytes
// are is for the hash to say.
func (r hubRepo) open(ctx context.Context, p pin, e Entry, from int64, loc *location) (*stretch, error) {
	to := min(from+segment, e.Size)
	byteRange := ""
	if from > 0 || to-from > oneGet {
		byteRange = fmt.Sprintf("bytes=%d-%d", from, to-1)
	}
	address := loc.address
	if address == "" || !loc.until.IsZero() && time.Until(loc.until) < time.Minute {
		address = r.base + "/" + r.name + "/resolve/" + p.commit + "/" + escapePath(e.Path)
	}
	a, err := r.follow(ctx, address, byteRange, func(at *url.URL) {
		if !sameOrigin(at, r.origin) { // kept also when it fails now: the hub need not be asked again
			*loc = location{at.String(), expiry(at)}
		}
	})
	if err != nil {
		if hasReason(err, reasonExpiredAddress) {
			*loc = location{}
		}
		return nil, err
	}
	s, err := r.check(a, p, e, from, to)
	if err != nil {
		_ = a.Body.Close()
		return nil, err
	}
	return s, nil
}

// check compares what an answer says with what the listing said, and brings it to offset from.
func (r hubRepo) check(a *answer, p pin, e Entry, from, to int64) (*stretch, error) {
	bad := func(format string, args ...any) error {
		return passing(api.FailDownload, ReasonBadServer, "%s sent %s of %q", a.at.Host, fmt.Sprintf(format, args...), e.Path)
	}
	l := a.linked
	if l.commit != "" && l.commit != p.commit || (sha256Hex.MatchString(l.etag) || sha1Hex.MatchString(l.etag)) && l.etag != e.Hex ||
		l.size != "" && l.size != strconv.FormatInt(e.Size, 10) {
		return nil, passing(api.FailHub, ReasonNoEntry, "%s lists one version of %q and serves another", r.origin.Host, e.Path)
	}
	if enc := a.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, bad("a compressed copy (%s)", clip(enc))
	}
	start := int64(0)
	if a.StatusCode == http.StatusPartialContent {
		first, end, total, ok := parseContentRange(a.Header.Get("Content-Range"))
		if !ok || first != from || end != to || total != e.Size {
			return nil, bad("other bytes (%s) than bytes %d-%d/%d", clip(a.Header.Get("Content-Range")), from, to-1, e.Size)
		}
		start = from
	} else { // the server ignores ranges: what is here already comes once more
		to = e.Size
	}
	if a.ContentLength >= 0 && a.ContentLength != to-start {
		return nil, bad("%d bytes instead of %d", a.ContentLength, to-start)
	}
	if start < from {
		if _, err := io.CopyN(io.Discard, a.Body, from-start); err != nil {
			return nil, ended(a, e, err)
		}
	}
	return &stretch{a, to}, nil
}

// ended explains a body that stopped before its end.
func ended(a *answer, e Entry, err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return passing(api.FailDownload, ReasonNetwork, "the connection to %s ended inside %q", a.at.Host, e.Path).because(err)
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
