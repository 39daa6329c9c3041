package hub

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// refusal turns an answer that is no success into an error: the hub's own code decides, then the status
// (modelfiles.md 1.4). file is what was asked for, or nil.
func (w *Client) refusal(a *answer, file *manifest.Entry) error {
	body, err := io.ReadAll(io.LimitReader(a.Body, maxMessage))
	if err != nil {
		body = nil // the status says enough
	}
	note := ""
	for _, key := range []string{"X-Request-Id", "X-Amzn-Trace-Id"} {
		if id := a.Header.Get(key); id != "" && note == "" {
			note = " (request " + fail.Clip(id) + ")"
		}
	}
	switch status := a.StatusCode; {
	case status == http.StatusTooManyRequests:
		return fail.Passing(api.FailHub, fail.RateLimited, "%s limits the number of requests%s", a.at.Host, note)
	case status == http.StatusRequestTimeout || status >= 500:
		return fail.Passing(api.FailHub, fail.Server, "%s answered %s%s", a.at.Host, a.Status, note)
	case status == http.StatusRequestedRangeNotSatisfiable:
		return outside(a, file, note)
	case !a.trusted:
		return elsewhere(a, file, note)
	case w.source == api.SourceModelScope:
		return w.scopeRefusal(a, body, note)
	}
	return w.faceRefusal(a, body, note)
}

// faceRefusal is a no of the Hugging Face Hub itself.
func (w *Client) faceRefusal(a *answer, body []byte, note string) error {
	code, said := a.Header.Get("X-Error-Code"), a.Header.Get("X-Error-Message")
	if said == "" {
		said = bodyMessage(body)
	}
	said = oneLine(said)
	status := a.StatusCode
	switch {
	case code == "GatedRepo":
		return fail.Final(api.FailHubAuth, fail.Gated, "the repository is gated: ask for access on its page at %s, store a token of an account that has it with nebula secret set, and name it as the model's token_secret%s", w.base, note)
	case strings.Contains(said, "Access to this resource is disabled"):
		return fail.Final(api.FailHub, fail.Disabled, "the hub has disabled this repository; choose another%s", note)
	case strings.Contains(said, "Invalid credentials"):
		return fail.Final(api.FailHubAuth, fail.BadToken, "%s does not accept the token: it is mistyped, expired or revoked. Store a valid one with nebula secret set, or use none for public models%s", a.at.Host, note)
	case code == "RevisionNotFound":
		return fail.Final(api.FailHub, fail.NoRevision, "the repository has no such revision; use one of its branches, tags or commits%s", note)
	case code == "EntryNotFound":
		return fail.Passing(api.FailHub, fail.NoEntry, "a file that the repository lists is not there%s", note)
	case code == "RepoNotFound", status == http.StatusUnauthorized, status == http.StatusNotFound, status == http.StatusForbidden:
		return fail.Final(api.FailHub, fail.NotFound, "the repository does not exist, or it is private and %s: check the name%s", w.whoWeAre(), note)
	}
	return fail.Final(api.FailHub, fail.BadServer, "%s answered %s: %q%s. Check the hub's address.", a.at.Host, a.Status, said, note)
}

func (w *Client) whoWeAre() string {
	if w.token == "" {
		return "Nebula has no token for it"
	}
	return "the token has no access to it"
}

// outside explains 416: there are no bytes where the listing says that there are some. When the server has another length
// in mind, the listing is not about its file.
func outside(a *answer, file *manifest.Entry, note string) error {
	whole, ok := strings.CutPrefix(a.Header.Get("Content-Range"), "bytes */")
	if n, err := strconv.ParseInt(whole, 10, 64); ok && err == nil && file != nil && n != file.Size {
		return fail.Passing(api.FailHub, fail.NoEntry, "%s has %d bytes of %q, and the listing says %d%s", a.at.Host, n, fail.Clip(file.Path), file.Size, note)
	}
	return fail.Passing(api.FailHub, fail.BadServer, "%s has no bytes where the listing says there are some%s", a.at.Host, note)
}

// bridgeLimit is about what the Hub serves of its newer storage over plain HTTP, in bytes.
const bridgeLimit = 300_000_000_000

// elsewhere explains an answer of the host that the hub redirected to. Its refusals mean that the signed address is
// used up, not that the repository is closed.
func elsewhere(a *answer, file *manifest.Entry, note string) error {
	switch status := a.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound, status == http.StatusGone:
		return fail.Passing(api.FailDownload, fail.ExpiredAddress, "%s refuses the address that the hub gave (%s)%s", a.at.Host, a.Status, note)
	case status == http.StatusBadRequest && file != nil && file.Size > bridgeLimit:
		return fail.Final(api.FailHub, fail.XetRequired,
			"%s does not give out %q: at %s it is larger than the hub serves over plain HTTP, and needs the hub's own xet client. Fetch it with that and use model_source local, or choose a repository with smaller files%s",
			a.at.Host, fail.Clip(file.Path), fail.Size(file.Size), note)
	}
	return fail.Passing(api.FailDownload, fail.BadServer, "%s answered %s%s", a.at.Host, a.Status, note)
}

// maxMessage is how much of a refusal is read, in bytes.
const maxMessage = 64 << 10

func oneLine(said string) string { return fail.Clip(strings.Join(strings.Fields(said), " ")) }

// bodyMessage reads {"error": "…"}, or nothing.
func bodyMessage(body []byte) string {
	var v struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &v) != nil {
		return ""
	}
	return v.Error
}
