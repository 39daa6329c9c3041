package httpapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/openapi"
)

//go:embed setup.html
var setupText string

//go:embed setup.css
var setupStyle string

//go:embed setup.js
var setupScript string

// setupRoutes are the rows about the first user.
func (s *server) setupRoutes() []Route {
	return []Route{
		{Method: "GET", Path: "/setup", Role: auth.Public, Summary: "The page on which the first user is made; the link to it carries the token behind #", Media: "text/html", Handle: s.setupPage},
		{Method: "GET", Path: "/api/v2/setup", Role: auth.Public, Summary: "Whether the first user is still to be made, and how people may log in", Response: api.SetupStatus{}, Handle: s.setupStatus},
		{
			Method: "POST", Path: "/api/v2/setup", Role: auth.Public, Summary: "Make the first user, an administrator, and log in", Request: api.Setup{}, Response: api.Whoami{},
			Errors: []api.Code{api.CodeTooManyRequests, api.CodeUnauthorized, api.CodeForbidden, api.CodeGone}, Handle: s.setUp,
		},
	}
}

// setupPages are the page on which the first user is made, and the one that tells that this has been done.
type setupPages struct{ needed, done []byte }

func makeSetupPages() (setupPages, error) {
	t, err := template.New("setup").Parse(setupText)
	if err != nil {
		return setupPages{}, fmt.Errorf("read the page of the setup: %w", err)
	}
	var out setupPages
	for page, needed := range map[*[]byte]bool{&out.needed: true, &out.done: false} {
		var b bytes.Buffer
		err := t.Execute(&b, struct {
			Base, Style template.CSS
			Script      template.JS
			Needed      bool
			MinPassword int
		}{template.CSS(openapi.PageStyle()), template.CSS(setupStyle), template.JS(setupScript), needed, api.MinPassword}) //nolint:gosec // our own files
		if err != nil {
			return setupPages{}, fmt.Errorf("write the page of the setup: %w", err)
		}
		*page = b.Bytes()
	}
	return out, nil
}

// pagePolicy is the Content-Security-Policy under which a page works: its own styles and scripts, known by their hashes, what these ask of this
// server, and nothing else at all.
func pagePolicy(styles, scripts []string) string {
	own := func(texts []string) string {
		var out strings.Builder
		for _, t := range texts {
			sum := sha256.Sum256([]byte(t))
			out.WriteString(" 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'")
		}
		return out.String()
	}
	policy := "default-src 'none'; style-src" + own(styles)
	if len(scripts) > 0 {
		policy += "; script-src" + own(scripts) + "; connect-src 'self'"
	}
	return policy + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

func (s *server) setupPage(w http.ResponseWriter, _ *http.Request) error {
	if s.console != nil {
		s.console.send(w)
		return nil
	}
	pages, err := s.setupPages()
	if err != nil {
		return err
	}
	page, scripts := pages.done, []string(nil)
	if st, _ := s.View.Current(); control.SetupNeeded(st) {
		page, scripts = pages.needed, []string{setupScript}
	}
	w.Header().Set("Content-Security-Policy", pagePolicy([]string{openapi.PageStyle(), setupStyle}, scripts))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page) // the caller may have left
	return nil
}

func (s *server) setupStatus(w http.ResponseWriter, _ *http.Request) error {
	st, _ := s.View.Current()
	status := api.SetupStatus{Needed: control.SetupNeeded(st), LoginProvider: s.OpenID != nil}
	if s.OpenID != nil {
		status.ProviderName = s.OpenID.Host()
	}
	writeJSON(w, http.StatusOK, status)
	return nil
}

func (s *server) setUp(w http.ResponseWriter, r *http.Request) error {
	if err := sameOrigin(r); err != nil {
		return err
	}
	var req api.Setup
	if err := decode(r, &req, false); err != nil {
		return err
	}
	if st, _ := s.View.Current(); !control.SetupNeeded(st) {
		return control.ErrSetUp()
	}
	l, now := s.logins, s.Now()
	addr := l.addressKey.key(r.RemoteAddr)
	if wait := l.byAddress.try(addr, now); wait > 0 {
		return waitFirst(w, wait)
	}
	if !s.Setup.Valid(string(req.Token), now) {
		return api.Errorf(api.CodeUnauthorized, "this setup link is not valid (any more): use the one that the server printed last; it is good for 15 minutes, and a new start of "+
			"the server prints another. On its machine nebula user create NAME --role admin makes a user without it")
	}
	l.byAddress.right(addr, false)
	user := req.User()
	hash, err := s.newPassword(r.Context(), user.Name, user.Password)
	if err == nil {
		err = user.Validate()
	}
	if err != nil {
		return err
	}
	made, err := s.Control.Setup(r.Context(), user, hash)
	if err != nil {
		return err
	}
	s.Log.Info("the first administrator was made", "user", made.Name)
	return s.openSession(w, r, proof{user: made, hash: hash})
}
