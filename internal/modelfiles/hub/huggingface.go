package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// Limits of a listing, far above every real repository.
const (
	maxEntries = 200_000
	maxListing = 256 << 20
	maxInfo    = 64 << 20
)

// faceRepo is one repository of a Hugging Face Hub.
type faceRepo struct {
	*Client
	name string
}

// Resolve turns a revision into a commit.
func (r faceRepo) Resolve(ctx context.Context, revision string) (Pin, error) {
	var info struct {
		SHA string `json:"sha"`
	}
	err := r.Retry(ctx, noProgress, func() error {
		a, err := r.get(ctx, r.base+"/api/models/"+r.name+"/revision/"+url.PathEscape(revision))
		if err != nil {
			return err
		}
		defer a.Body.Close()
		return decode(a, io.LimitReader(a.Body, maxInfo), &info)
	})
	if err != nil {
		return Pin{}, err
	}
	if !manifest.IsCommit(info.SHA) {
		return Pin{}, fail.Final(api.FailHub, fail.BadServer, "%s did not say which commit %q is. Check the hub's address.", r.origin.Host, fail.Clip(revision))
	}
	return r.Pin(r.name, revision, info.SHA), nil
}

// Source returns where the bytes of a listed file come from.
func (r faceRepo) Source(p Pin, e manifest.Entry) *Source {
	return newSource(r.Client, r.base+"/"+r.name+"/resolve/"+p.Commit+"/"+escapePath(e.Path), p, e)
}

func escapePath(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

func noProgress() int64 { return 0 }

// decode reads JSON; a broken connection stays what it is, anything else is the server's fault.
func decode(a *answer, body io.Reader, v any) error {
	err := json.NewDecoder(body).Decode(v)
	return badJSON(a, err)
}

func badJSON(a *answer, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := fail.As(err); ok || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fail.Passing(api.FailHub, fail.BadServer, "%s gave an answer that is not what a hub says", a.at.Host).Because(err)
}

// List returns every file of a commit.
func (r faceRepo) List(ctx context.Context, p Pin) ([]manifest.Entry, error) {
	var all []manifest.Entry
	left := int64(maxListing)
	seen := map[string]bool{}
	next := r.base + "/api/models/" + r.name + "/tree/" + p.Commit + "?recursive=true&expand=false"
	for next != "" {
		if seen[next] {
			return nil, fail.Final(api.FailHub, fail.BadServer, "the file list of %s never ends. Check the hub's address.", r.name)
		}
		seen[next] = true
		var page []manifest.Entry
		var read int64
		var following string
		err := r.Retry(ctx, noProgress, func() (err error) {
			page, following, read, err = r.page(ctx, next, r.entries-len(all), left)
			return err
		})
		if err != nil {
			return nil, err
		}
		all, next, left = append(all, page...), following, left-read
	}
	return all, nil
}

// page reads one page of a listing and returns the address of the next.
func (r faceRepo) page(ctx context.Context, address string, room int, left int64) ([]manifest.Entry, string, int64, error) {
	a, err := r.get(ctx, address)
	if err != nil {
		return nil, "", 0, err
	}
	defer a.Body.Close()
	body := &io.LimitedReader{R: a.Body, N: left}
	var out []manifest.Entry
	err = decodeListing(body, func(e manifest.Entry) error {
		if len(out) >= room {
			return errTooLong
		}
		out = append(out, e)
		return nil
	})
	if errors.Is(err, errTooLong) || body.N <= 0 {
		return nil, "", 0, r.tooLong()
	}
	if err != nil {
		return nil, "", 0, badJSON(a, err)
	}
	next, err := r.nextPage(a)
	return out, next, left - body.N, err
}

var errTooLong = errors.New("the listing is too long")

// decodeListing streams a listing's files to add. A file without a usable hash or size is an error: it could not be
// verified.
func decodeListing(r io.Reader, add func(manifest.Entry) error) error {
	d := json.NewDecoder(r)
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return errors.Join(errors.New("not a list"), err)
	}
	for d.More() {
		var v struct {
			Type string `json:"type"`
			Path string `json:"path"`
			OID  string `json:"oid"`
			Size int64  `json:"size"`
			LFS  *struct {
				OID  string `json:"oid"`
				Size int64  `json:"size"`
			} `json:"lfs"`
			Xet string `json:"xetHash"`
		}
		if err := d.Decode(&v); err != nil {
			return err
		}
		if v.Type != "file" {
			continue
		}
		e := manifest.Entry{Path: v.Path, Size: v.Size, Hash: manifest.Hash{Algo: manifest.GitSHA1, Hex: strings.ToLower(v.OID)}}
		if v.LFS != nil {
			e.Size, e.Hash = v.LFS.Size, manifest.Hash{Algo: manifest.SHA256, Hex: strings.ToLower(strings.TrimPrefix(v.LFS.OID, "sha256:"))}
		}
		if manifest.IsHex(v.Xet) {
			e.XetHash = v.Xet
		}
		if !e.Valid() || e.Size < 0 || e.Size > manifest.MaxSize {
			return fmt.Errorf("the entry of %q has no usable hash or size", fail.Clip(v.Path))
		}
		if err := add(e); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

// nextPage reads the Link header. A mirror may hand out the addresses of the hub that it mirrors; those are asked of
// the mirror.
func (r faceRepo) nextPage(a *answer) (string, error) {
	link := parseNext(a.Header.Values("Link"))
	if link == "" {
		return "", nil
	}
	u, err := a.at.Parse(link)
	if err != nil {
		return "", fail.Passing(api.FailHub, fail.BadServer, "%s names a next page that is no address", a.at.Host).Because(err)
	}
	if !sameOrigin(u, r.origin) {
		if !sameOrigin(u, publicHub) {
			return "", fail.Final(api.FailHub, fail.Redirect, "%s continues its file list at %s, which is another server. Check the hub's address.", r.origin.Host, fail.Clip(u.Host))
		}
		u, err = url.Parse(r.base + u.RequestURI())
		if err != nil {
			return "", fail.Passing(api.FailHub, fail.BadServer, "%s names a next page that is no address", a.at.Host).Because(err)
		}
	}
	return r.below(u).String(), nil
}

var publicHub = &url.URL{Scheme: "https", Host: strings.TrimPrefix(Default, "https://")}
