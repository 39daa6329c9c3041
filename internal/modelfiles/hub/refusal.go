package hub

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// refusal turns an answer that is no success into an error: the hub's own code decides, then the status
// (modelfiles.md 1.4). trusted tells that the answer came from the hub and not from where it redirects to.
func (w *Client) refusal(a *answer, trusted bool) error {
	code, said := a.Header.Get("X-Error-Code"), a.Header.Get("X-Error-Message")
	if said == "" {
		said = bodyMessage(a.Body)
	}
	note := ""
	if id := a.Header.Get("X-Request-Id"); id != "" {
		note = " (request " + fail.Clip(id) + ")"
	}
	said = fail.Clip(strings.Join(strings.Fields(said), " "))
	status := a.StatusCode
	switch {
	case status == http.StatusTooManyRequests:
		return fail.Passing(api.FailHub, fail.RateLimited, "%s limits the number of requests%s", a.at.Host, note)
	case status == http.StatusRequestTimeout || status >= 500:
		return fail.Passing(api.FailHub, fail.Server, "%s answered %s%s", a.at.Host, a.Status, note)
	case !trusted:
		return elsewhere(a, note)
	case status == http.StatusRequestedRangeNotSatisfiable:
		return fail.Passing(api.FailHub, fail.BadServer, "%s has no bytes where the listing says there are some%s", a.at.Host, note)
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

// elsewhere explains an answer of the host that the hub redirected to. Its refusals mean that the signed address is
// used up, not that the repository is closed.
func elsewhere(a *answer, note string) error {
	switch a.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return fail.Passing(api.FailDownload, fail.ExpiredAddress, "%s refuses the address that the hub gave (%s)%s", a.at.Host, a.Status, note)
	case http.StatusRequestedRangeNotSatisfiable:
		return fail.Passing(api.FailHub, fail.BadServer, "%s has no bytes where the listing says there are some%s", a.at.Host, note)
	}
	return fail.Passing(api.FailDownload, fail.BadServer, "%s answered %s%s", a.at.Host, a.Status, note)
}

// bodyMessage reads {"error": "…"} from a body, or nothing.
func bodyMessage(body io.Reader) string {
	b, err := io.ReadAll(io.LimitReader(body, 64<<10))
	if err != nil {
		return ""
	}
	var v struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(b, &v) != nil {
		return ""
	}
	return v.Error
}

var rateLimit = regexp.MustCompile(`;\s*r=(\d+)\s*;\s*t=(\d+)`)

// parkFor reads from a 429 how long to wait: RateLimit with nothing remaining, then Retry-After in seconds or as a
// date, else the patience's longest delay. It is never longer than MaxPark: then it is asked again.
func parkFor(h http.Header, now time.Time, p Patience) time.Duration {
	d := p.MaxDelay
	m := rateLimit.FindStringSubmatch(h.Get("RateLimit"))
	after := strings.TrimSpace(h.Get("Retry-After"))
	switch {
	case m != nil && m[1] == "0":
		if s, err := strconv.Atoi(m[2]); err == nil {
			d = seconds(s, p.MaxPark) + time.Second
		}
	case after != "":
		if s, err := strconv.Atoi(after); err == nil {
			d = seconds(s, p.MaxPark)
		} else if t, err := http.ParseTime(after); err == nil {
			d = t.Sub(now)
		}
	}
	return min(max(d, 0), p.MaxPark)
}

func seconds(s int, most time.Duration) time.Duration {
	if s < 0 || time.Duration(s) > most/time.Second {
		return most
	}
	return time.Duration(s) * time.Second
}
