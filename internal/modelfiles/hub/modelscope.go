package hub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// scopeRepo is one repository of a ModelScope. It has no name for a state of all its files, so what is listed names it.
type scopeRepo struct {
	*Client
	name string

	pin    Pin // of listed
	listed []manifest.Entry
}

// Resolve lists the revision: what it is now is known by its files alone.
func (r *scopeRepo) Resolve(ctx context.Context, revision string) (Pin, error) {
	files, err := r.list(ctx, revision)
	if err != nil {
		return Pin{}, err
	}
	r.listed = files
	r.pin = r.Pin(r.name, revision, contentName(files))
	return r.pin, nil
}

// contentName is 40 hex digits that are the same for the same files: the hub has no commit of its own.
func contentName(files []manifest.Entry) string {
	lines := make([]string, 0, len(files))
	for _, f := range files {
		sum := ""
		if f.Known() {
			sum = f.Hex
		}
		lines = append(lines, fmt.Sprintf("%s\x00%d\x00%s", f.Path, f.Size, sum))
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:])[:40]
}

// List returns what Resolve found.
func (r *scopeRepo) List(ctx context.Context, p Pin) ([]manifest.Entry, error) {
	if r.pin == p {
		return r.listed, nil
	}
	now, err := r.Resolve(ctx, p.Revision)
	if err == nil && now.Commit != p.Commit {
		err = fail.Passing(api.FailHub, fail.NoEntry, "%s has other files at %q by now", r.origin.Host, fail.Clip(p.Revision))
	}
	return r.listed, err
}

// Source returns where the bytes of a listed file come from.
func (r *scopeRepo) Source(p Pin, e manifest.Entry) *Source {
	q := url.Values{"Revision": {p.Revision}, "FilePath": {e.Path}}
	return newSource(r.Client, r.api()+"/repo?"+q.Encode(), p, e)
}

func (r *scopeRepo) api() string { return r.base + "/api/v1/models/" + r.name }

// cutListing is how many entries one listing holds at most: the hub leaves the rest out without a word.
const cutListing = 3000

// list returns the files of a revision. One listing has them all, unless it may have been cut: then each folder is listed.
func (r *scopeRepo) list(ctx context.Context, revision string) ([]manifest.Entry, error) {
	all, err := r.folder(ctx, revision, "", true, maxListing)
	if err != nil {
		return nil, err
	}
	if all.entries < cutListing {
		return all.files, nil
	}
	var out []manifest.Entry
	seen := map[string]bool{}
	left := int64(maxListing)
	for todo := []string{""}; len(todo) > 0; todo = todo[1:] {
		if seen[todo[0]] || manifest.NameFault(todo[0]) != "" && todo[0] != "" {
			continue
		}
		seen[todo[0]] = true
		f, err := r.folder(ctx, revision, todo[0], false, left)
		if err != nil {
			return nil, err
		}
		if len(out)+len(f.files) > r.entries || f.entries >= cutListing {
			return nil, r.tooLong()
		}
		out, todo, left = append(out, f.files...), append(todo, f.folders...), left-f.read
	}
	return out, nil
}

func (w *Client) tooLong() error {
	return fail.Final(api.FailHub, fail.TooLarge, "%s lists more than %d files or %s of names for this repository, or more than fit in one listing; Nebula does not take such repositories",
		w.origin.Host, w.entries, fail.Size(int64(maxListing)))
}

// scopeListing is one answer.
type scopeListing struct {
	files   []manifest.Entry
	folders []string
	entries int
	read    int64 // bytes
}

func (r *scopeRepo) folder(ctx context.Context, revision, root string, recursive bool, left int64) (scopeListing, error) {
	q := url.Values{"Revision": {revision}}
	if recursive {
		q.Set("Recursive", "true")
	}
	if root != "" {
		q.Set("Root", root)
	}
	var out scopeListing
	err := r.Retry(ctx, noProgress, func() error {
		a, err := r.get(ctx, r.api()+"/repo/files?"+q.Encode())
		if err != nil {
			return err
		}
		defer a.Body.Close()
		body := &io.LimitedReader{R: a.Body, N: left}
		var said scopeSaid
		out, said, err = decodeScope(body, r.entries)
		out.read = left - body.N
		switch {
		case errors.Is(err, errTooLong) || body.N <= 0:
			return r.tooLong()
		case err != nil:
			return badJSON(a, err)
		case !said.ok():
			return r.scopeError(a, said, "")
		}
		return nil
	})
	return out, err
}

// scopeSaid is the envelope of every answer that is no file.
type scopeSaid struct {
	Code      int64
	Message   string
	Success   *bool
	RequestID string `json:"RequestId"`
}

func (s scopeSaid) ok() bool { return s.Code == scopeOK && (s.Success == nil || *s.Success) }

// decodeScope streams a listing. A file without a usable size or with a hash that is none is an error; one without a hash
// is as it is.
func decodeScope(r io.Reader, most int) (out scopeListing, said scopeSaid, err error) {
	d := json.NewDecoder(r)
	add := func() error {
		var v struct {
			Path, Type string
			Size       int64
			SHA256     string `json:"Sha256"`
		}
		if err := d.Decode(&v); err != nil {
			return err
		}
		if out.entries >= most {
			return errTooLong
		}
		out.entries++
		if v.Type == "tree" {
			out.folders = append(out.folders, v.Path)
			return nil
		}
		if base := path.Base(v.Path); base == ".gitignore" || base == ".gitattributes" {
			return nil
		}
		e := manifest.Entry{Path: v.Path, Size: v.Size, Hash: manifest.Unknown(v.Path, v.Size)}
		if v.SHA256 != "" {
			e.Hash = manifest.Hash{Algo: manifest.SHA256, Hex: strings.ToLower(v.SHA256)}
		}
		if e.Known() && !e.Valid() || e.Size < 0 || e.Size > manifest.MaxSize {
			return fmt.Errorf("the entry of %q has no usable hash or size", fail.Clip(v.Path))
		}
		out.files = append(out.files, e)
		return nil
	}
	err = object(d, func(key string) error {
		switch key {
		case "Code":
			return d.Decode(&said.Code)
		case "Message":
			return d.Decode(&said.Message)
		case "RequestId":
			return d.Decode(&said.RequestID)
		case "Success":
			return d.Decode(&said.Success)
		case "Data":
			return object(d, func(key string) error {
				if key != "Files" {
					return skip(d)
				}
				return array(d, add)
			})
		}
		return skip(d)
	})
	return out, said, err
}

// object walks an object: each reads the value of a key. null has no keys.
func object(d *json.Decoder, each func(key string) error) error {
	t, err := d.Token()
	if err != nil || t == nil {
		return err
	}
	if t != json.Delim('{') {
		return errors.New("not an object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := key.(string)
		if err := each(name); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// array walks an array: each reads an element. null has none.
func array(d *json.Decoder, each func() error) error {
	t, err := d.Token()
	if err != nil || t == nil {
		return err
	}
	if t != json.Delim('[') {
		return errors.New("not a list")
	}
	for d.More() {
		if err := each(); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

func skip(d *json.Decoder) error {
	var v json.RawMessage
	return d.Decode(&v)
}

// Codes of ModelScope's answers. All its refusals are HTTP 404: only the code tells them apart.
const (
	scopeOK       = 200
	scopeNoModel  = 10010205001
	scopeNoAccess = 10010200001 // private or gated; it does not say which
	scopeNoTree   = 10990101004 // nothing at that revision
	scopeNoFile   = 10990101003
)

// scopeRefusal is a no of ModelScope itself.
func (w *Client) scopeRefusal(a *answer, body []byte, note string) error {
	var said scopeSaid
	if json.Unmarshal(body, &said) != nil {
		said = scopeSaid{}
	}
	return w.scopeError(a, said, note)
}

func (w *Client) scopeError(a *answer, said scopeSaid, note string) error {
	if note == "" && said.RequestID != "" {
		note = " (request " + fail.Clip(said.RequestID) + ")"
	}
	switch {
	case said.Code == scopeNoTree:
		return fail.Final(api.FailHub, fail.NoRevision, "the repository has no such revision; use one of its branches or tags (its default branch is called master)%s", note)
	case said.Code == scopeNoFile:
		return fail.Passing(api.FailHub, fail.NoEntry, "a file that the repository lists is not there%s", note)
	case said.Code == scopeNoAccess && w.token == "":
		return fail.Final(api.FailHubAuth, fail.Gated, "the repository is private or gated, and Nebula has no token for %s: store one of an account that has access with nebula secret set, and name it as the model's token_secret%s", w.origin.Host, note)
	case said.Code == scopeNoAccess:
		return fail.Final(api.FailHubAuth, fail.Gated, "the token has no access to the repository: ask for it on its page at %s, or store a token of an account that has it with nebula secret set%s", w.base, note)
	case a.StatusCode == 401, a.StatusCode == 403, said.Code == 401, said.Code == 403:
		return fail.Final(api.FailHubAuth, fail.BadToken, "%s does not accept the token: it is mistyped, expired or revoked. Store a valid one with nebula secret set, or use none for public models%s", a.at.Host, note)
	case said.Code == scopeNoModel, a.StatusCode == 404 && said.Code == 0, said.Code == 404:
		return fail.Final(api.FailHub, fail.NotFound, "the repository does not exist, or it is private and %s: check the name%s", w.whoWeAre(), note)
	case a.StatusCode >= 400:
		return fail.Final(api.FailHub, fail.BadServer, "%s answered %s: %q%s. Check the hub's address.", a.at.Host, a.Status, oneLine(said.Message), note)
	}
	return fail.Passing(api.FailHub, fail.Server, "%s answered that it failed (code %d: %q)%s", a.at.Host, said.Code, oneLine(said.Message), note)
}
