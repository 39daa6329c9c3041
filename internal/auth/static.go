package auth

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/nebula-serve/nebula/api"
)

// Bounds of static tokens. Short ones are easily guessed, and those of the existing Nebula were short: they are accepted with a warning.
const (
	maxStatic      = 1000
	maxStaticToken = 512
	shortStatic    = 32
)

// WithStatic returns a keyring that also accepts the tokens of NEBULA_AUTH_TOKENS: "token:role,token:role". What cannot be used is left out. The
// warnings tell so, by position: they hold nothing of a token.
func (k Keyring) WithStatic(text string) (Keyring, []string) {
	var warnings []string
	seen := map[string]bool{}
	warn := func(i int, format string, args ...any) {
		warnings = append(warnings, fmt.Sprintf("entry %d of NEBULA_AUTH_TOKENS %s", i+1, fmt.Sprintf(format, args...)))
	}
	for i, entry := range strings.Split(text, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		at := strings.LastIndex(entry, ":")
		if at < 0 {
			warn(i, "is left out: it must be TOKEN:ROLE")
			continue
		}
		token := strings.TrimSpace(entry[:at])
		role, ok := RoleOf(api.Role(strings.ToLower(strings.TrimSpace(entry[at+1:]))))
		switch {
		case len(seen) >= maxStatic:
			warn(i, "and those after it are left out: at most %d are taken", maxStatic)
			return k, warnings
		case !ok:
			warn(i, "is left out: its role must be inference, viewer, operator or admin")
			continue
		case token == "" || len(token) > maxStaticToken || !utf8.ValidString(token) || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
			warn(i, "is left out: its token must be 1 to %d visible ASCII characters", maxStaticToken)
			continue
		case seen[token]:
			warn(i, "is left out: its token is there before, and the first one counts")
			continue
		case len(token) < shortStatic:
			warn(i, "has a token of %d characters, which may be guessed: use one of %d random ones, or better an API key", len(token), shortStatic)
		}
		seen[token] = true
		k = k.With(token, Principal{ID: "static-" + Digest(token)[:8], Role: role, Kind: KindStatic})
	}
	return k, warnings
}
