package modelfiles

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// defaultHub is where models come from when nobody says otherwise.
const defaultHub = "https://huggingface.co"

// Limits of a listing, far above every real repository.
const (
	maxEntries = 200_000
	maxListing = 256 << 20
	maxInfo    = 64 << 20
	maxFile    = 1 << 50
)

// pin is one state of a repository, for ever.
type pin struct{ repo, revision, commit string }

// hubRepo is one repository of a Hugging Face Hub.
type hubRepo struct {
	*web
	name string
}

var repoName = regexp.MustCompile(`^\w([\w.-]{0,94}\w)?(/\w([\w.-]{0,94}\w)?)?$`)

// checkRepo applies the Hub's grammar once more: the name becomes part of addresses and of a folder's name.
func checkRepo(name, revision string) error {
	if !repoName.MatchString(name) || strings.Contains(name, "--") || strings.Contains(name, "..") || strings.HasSuffix(name, ".git") {
		return final(api.FailInvalidModel, ReasonUnsafeName, "%q is not the name of a repository: use NAME or OWNER/NAME", clip(name))
	}
	if why := nameFault(revision); why != "" || len(revision) > maxSegment || strings.Contains(revision, "..") {
		return final(api.FailInvalidModel, ReasonUnsafeName, "%q is not a revision: use a branch, a tag or a commit", clip(revision))
	}
	return nil
}

// resolve turns a revision into a commit.
func (r hubRepo) resolve(ctx context.Context, revision string) (pin, error) {
	var info struct {
		SHA string `json:"sha"`
	}
	err := r.retry(ctx, noProgress, func() error {
		a, err := r.get(ctx, r.base+"/api/models/"+r.name+"/revision/"+url.PathEscape(revision))
		if err != nil {
			return err
		}
		defer a.Body.Close()
		return decode(a, io.LimitReader(a.Body, maxInfo), &info)
	})
	if err != nil {
		return pin{}, err
	}
	if !isCommit(info.SHA) {
		return pin{}, final(api.FailHub, ReasonBadServer, "%s did not say which commit %q is. Check the hub's address.", r.origin.Host, clip(revision))
	}
	return pin{r.name, revision, info.SHA}, nil
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
	if _, ok := AsError(err); ok || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return passing(api.FailHub, ReasonBadServer, "%s gave an answer that is not what a hub says", a.at.Host).because(err)
}

// list returns every file of a commit.
func (r hubRepo) list(ctx context.Context, p pin) ([]Entry, error) {
	var all []Entry
	left := int64(maxListing)
	seen := map[string]bool{}
	next := r.base + "/api/models/" + r.name + "/tree/" + p.commit + "?recursive=true&expand=false"
	for next != "" {
		if seen[next] {
			return nil, final(api.FailHub, ReasonBadServer, "the file list of %s never ends. Check the hub's address.", r.name)
		}
		seen[next] = true
		var page []Entry
		var read int64
		var following string
		err := r.retry(ctx, noProgress, func() (err error) {
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
func (r hubRepo) page(ctx context.Context, address string, room int, left int64) ([]Entry, string, int64, error) {
	a, err := r.get(ctx, address)
	if err != nil {
		return nil, "", 0, err
	}
	defer a.Body.Close()
	body := &io.LimitedReader{R: a.Body, N: left}
	var out []Entry
	err = decodeListing(body, func(e Entry) error {
		if len(out) >= room {
			return errTooLong
		}
		out = append(out, e)
		return nil
	})
	if errors.Is(err, errTooLong) || body.N <= 0 {
		return nil, "", 0, final(api.FailHub, ReasonTooLarge, "%s lists more than %d files or %s of names; Nebula does not take such repositories",
			r.name, r.entries, size(int64(maxListing)))
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
func decodeListing(r io.Reader, add func(Entry) error) error {
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
		}
		if err := d.Decode(&v); err != nil {
			return err
		}
		if v.Type != "file" {
			continue
		}
		e := Entry{v.Path, v.Size, Hash{GitSHA1, strings.ToLower(v.OID)}}
		if v.LFS != nil {
			e.Size, e.Hash = v.LFS.Size, Hash{SHA256, strings.ToLower(strings.TrimPrefix(v.LFS.OID, "sha256:"))}
		}
		if !e.valid() || e.Size < 0 || e.Size > maxFile {
			return fmt.Errorf("the entry of %q has no usable hash or size", clip(v.Path))
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
func (r hubRepo) nextPage(a *answer) (string, error) {
	link := parseNext(a.Header.Values("Link"))
	if link == "" {
		return "", nil
	}
	u, err := a.at.Parse(link)
	if err != nil {
		return "", passing(api.FailHub, ReasonBadServer, "%s names a next page that is no address", a.at.Host).because(err)
	}
	if !sameOrigin(u, r.origin) {
		if u.Scheme+"://"+u.Host != defaultHub {
			return "", final(api.FailHub, ReasonRedirect, "%s continues its file list at %s, which is another server. Check the hub's address.", r.origin.Host, clip(u.Host))
		}
		u, err = url.Parse(r.base + u.RequestURI())
		if err != nil {
			return "", passing(api.FailHub, ReasonBadServer, "%s names a next page that is no address", a.at.Host).because(err)
		}
	}
	return u.String(), nil
}

// parseNext returns the address with rel="next" of a Link header (RFC 8288), or "".
func parseNext(values []string) string {
	for _, v := range values {
		for v != "" {
			_, rest, ok := strings.Cut(v, "<")
			if !ok {
				break
			}
			target, params, ok := strings.Cut(rest, ">")
			if !ok {
				break
			}
			params, v, _ = strings.Cut(params, "<")
			for p := range strings.SplitSeq(params, ";") {
				key, value, _ := strings.Cut(strings.Trim(p, ", \t"), "=")
				if strings.EqualFold(strings.TrimSpace(key), "rel") && strings.EqualFold(strings.Trim(value, `" `), "next") {
					return target
				}
			}
			if v != "" {
				v = "<" + v
			}
		}
	}
	return ""
}

// parseContentRange reads "bytes a-b/total".
func parseContentRange(v string) (from, to, total int64, ok bool) {
	spec, found := strings.CutPrefix(v, "bytes ")
	span, whole, found2 := strings.Cut(spec, "/")
	a, b, found3 := strings.Cut(span, "-")
	if !found || !found2 || !found3 {
		return 0, 0, 0, false
	}
	var errs [3]error
	from, errs[0] = strconv.ParseInt(a, 10, 64)
	to, errs[1] = strconv.ParseInt(b, 10, 64)
	total, errs[2] = strconv.ParseInt(whole, 10, 64)
	if errors.Join(errs[:]...) != nil || from < 0 || to < from || total <= to {
		return 0, 0, 0, false
	}
	return from, to + 1, total, true
}
