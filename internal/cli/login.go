package cli

import (
	"cmp"
	"context"
	"crypto/subtle"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/nebula-serve/nebula/api"
)

// login is what "nebula login" was asked for.
type login struct {
	c             *command
	name          string
	username      string
	passwordStdin bool
	tokenStdin    bool
	use           bool
}

func (c *command) loginCommand() *cobra.Command {
	l := &login{c: c}
	cmd := &cobra.Command{
		Use: "login [URL]", Short: "Log in to a server, and keep that in a context",
		Long: "Log in to the server at URL (default: that of the context, or the one on this machine), check the credential there and keep both in a\n" +
			"context, to which commands go from then on. With a user name and password the server makes a personal token, which \"nebula logout\"\n" +
			"revokes; the password is kept nowhere. Neither is ever taken from the command line, where others can read it.",
		Example: "  nebula login https://nebula.example.com --name production --username ada\n" +
			"  nebula login http://10.0.0.1:8081 --token-stdin < token.txt",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%s takes one URL\nSee: %s --help", cmd.CommandPath(), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return l.run(cmd.Context(), args) },
	}
	f := cmd.Flags()
	f.StringVar(&l.name, "name", "", "what to call the context (default: the server's host)")
	f.StringVarP(&l.username, "username", "u", "", "your user name (default: it is asked for)")
	f.BoolVar(&l.passwordStdin, "password-stdin", false, "read the password from standard input")
	f.BoolVar(&l.tokenStdin, "token-stdin", false, "read a key or token from standard input")
	f.BoolVar(&l.use, "use", true, "let commands go there from now on")
	return cmd
}

func (l *login) run(ctx context.Context, args []string) error {
	c := l.c
	if c.fromFlags["token"] {
		return usagef("on the command line others can read the token: give it on standard input, with --token-stdin")
	}
	t, name, err := l.where(args)
	if err != nil {
		return err
	}
	change := contextItem{Server: t.server, CA: string(t.ca)}
	if err := l.credential(ctx, t, &change); err != nil {
		return err
	}
	t.token = string(change.Token)
	who, err := c.whoIs(ctx, t)
	if err != nil {
		return err
	}
	change.User = who.Name()
	err = c.changeContexts(func(all *contexts) error {
		if err := all.set(name, change); err != nil {
			return err
		}
		if l.use {
			all.Current = name
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.say(fmt.Sprintf("Logged in to %s as %s; the context is called %s", t.server, who.Text(), name))
}

// where is the server to log in to, and the name of its context.
func (l *login) where(args []string) (target, string, error) {
	c := l.c
	if len(args) == 1 {
		if c.fromFlags["server"] {
			return target{}, "", usagef("give the server once: as argument or with --server")
		}
		c.server, c.fromFlags["server"] = args[0], true
	}
	t, err := c.target()
	if err != nil {
		return target{}, "", err
	}
	if t.server == "" {
		if t.server, err = c.ownServer(); err != nil {
			return target{}, "", err
		}
	}
	u, err := serverURL(t.server)
	if err != nil {
		return target{}, "", err
	}
	t.server = u.String()
	if c.caFile != "" {
		if t.ca, err = os.ReadFile(c.caFile); err != nil {
			return target{}, "", usagef("read the certificate authority: %w", err)
		}
	}
	name := l.name
	if name == "" {
		name = t.context
	}
	if name == "" {
		name = nameOfServer(u)
	}
	return t, name, checkContextName(name)
}

// nameOfServer is what a context is called when nobody says: the host, with its port where that is not the usual one.
func nameOfServer(u *url.URL) string {
	return strings.NewReplacer("[", "", "]", "").Replace(u.Host)
}

// credential reads the credential, or has one made for a user name and password.
func (l *login) credential(ctx context.Context, t target, into *contextItem) error {
	var err error
	if l.tokenStdin {
		if l.username != "" || l.passwordStdin {
			return usagef("--token-stdin is instead of a user name and password: give one of them")
		}
		into.Token, err = l.c.readToken()
		return err
	}
	if !l.passwordStdin && !terminal(l.c.env.Stdin) {
		return usagef("nobody can be asked for the password here: give it with --username NAME --password-stdin, or a token with --token-stdin")
	}
	if l.username == "" && l.passwordStdin {
		return usagef("whose password? Give --username NAME")
	}
	if l.username == "" {
		if l.username, err = l.c.ask("User name: "); err != nil {
			return err
		}
	}
	password, err := l.c.readHidden("Password", errNoPassword)
	if err != nil {
		return err
	}
	return l.personalToken(ctx, t, password, into)
}

// personalToken exchanges user name and password for a token of the command line's own.
func (l *login) personalToken(ctx context.Context, t target, password api.Token, into *contextItem) error {
	t.token = ""
	cl, err := l.c.stranger(t)
	if err != nil {
		return err
	}
	host, _ := os.Hostname() // without it the token's name says less
	made, err := cl.CreatePersonalToken(ctx, api.CreatePersonalToken{
		Username: l.username, Password: password, Name: strings.TrimSuffix("nebula login on "+host, " on "),
	})
	if api.HasCode(err, api.CodeNotFound) || api.HasCode(err, api.CodeMethodNotAllowed) {
		return api.Errorf(api.CodeNotFound, "this server knows no users with passwords: log in with a key, nebula login --token-stdin")
	}
	into.Token, into.KeyID = made.Token, made.ID
	return err
}

// ask reads a line that is shown. Byte by byte, because what follows is for the next question.
func (c *command) ask(prompt string) (string, error) {
	fmt.Fprint(c.env.Stderr, prompt)
	var line []byte
	for b := make([]byte, 1); len(line) <= api.MaxUserName; {
		n, err := c.env.Stdin.Read(b)
		if n == 1 && b[0] != '\n' {
			line = append(line, b[0])
			continue
		}
		if text := strings.TrimSpace(string(line)); text != "" {
			return text, nil
		}
		if err != nil || n == 1 {
			return "", usagef("no user name was given: give --username NAME")
		}
	}
	return "", usagef("that user name is too long: the longest has %d characters", api.MaxUserName)
}

// readToken reads a credential from standard input.
func (c *command) readToken() (api.Token, error) {
	return c.readHidden("Token", errNoToken)
}

// readHidden reads a secret from standard input; a terminal is asked, and does not show what is typed. Nothing of it is in an error.
func (c *command) readHidden(what string, empty error) (api.Token, error) {
	var b []byte
	var err error
	if terminal(c.env.Stdin) {
		fmt.Fprintf(c.env.Stderr, "%s (it is not shown): ", what)
		b, err = term.ReadPassword(int(c.env.Stdin.(*os.File).Fd()))
		fmt.Fprintln(c.env.Stderr)
	} else {
		b, err = io.ReadAll(io.LimitReader(c.env.Stdin, api.MaxSecretBytes+2))
	}
	if err != nil {
		return "", fmt.Errorf("read from standard input: %w", err)
	}
	s := strings.TrimRight(string(b), "\r\n")
	switch {
	case s == "":
		return "", &usageError{empty}
	case len(s) > api.MaxSecretBytes || strings.ContainsAny(s, "\r\n\x00"):
		return "", usagef("what came on standard input is no credential: it must be one line")
	}
	return api.Token(s), nil
}

// readLines reads so many lines that are secrets from standard input, which has no more and no fewer. Nothing of them is in an error.
func (c *command) readLines(n int) ([]string, error) {
	b, err := io.ReadAll(io.LimitReader(c.env.Stdin, int64(n*(api.MaxSecretBytes+2))))
	if err != nil {
		return nil, fmt.Errorf("read from standard input: %w", err)
	}
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n"), "\n")
	for _, l := range lines {
		if l == "" || len(l) > api.MaxSecretBytes {
			lines = nil
		}
	}
	if len(lines) != n {
		return nil, usagef("standard input must have %d lines, none of them empty", n)
	}
	return lines, nil
}

func (c *command) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use: "logout [CONTEXT]", Short: "Forget the credential of a context, and revoke the token that login made", ValidArgsFunction: c.completeContext,
		Example: "  nebula logout\n  nebula logout production",
		Long: "Forget the credential of CONTEXT (default: the current one), after revoking the token that \"nebula login\" had the server make. A key that\n" +
			"you brought with --token-stdin stays valid. The context stays, for the next login.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%s takes one CONTEXT\nSee: %s --help", cmd.CommandPath(), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.logout(cmd.Context(), strings.Join(args, "")) },
	}
}

// logout forgets the credential also when the server cannot revoke it, but says so and fails then.
func (c *command) logout(ctx context.Context, name string) error {
	all, err := c.readContexts()
	if err != nil {
		return err
	}
	if name = cmp.Or(name, c.context, all.Current); name == "" {
		return usagef("you are not logged in anywhere: see nebula context list")
	}
	item, err := all.find(name)
	if err != nil {
		return err
	}
	if item.Token == "" {
		return c.say("You are not logged in at " + item.Server)
	}
	var revoked error
	if item.KeyID != "" {
		revoked = c.revoke(ctx, item)
	}
	err = c.changeContexts(func(all *contexts) error {
		now, err := all.find(name)
		if err == nil && subtle.ConstantTimeCompare([]byte(now.Token), []byte(item.Token)) == 1 { // else somebody has logged in again meanwhile
			now.Token, now.KeyID, now.User = "", "", ""
			all.Contexts[name] = now
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case revoked != nil:
		return fmt.Errorf("the credential is forgotten here, but the server has not revoked it: %w; somebody with the role admin can: nebula key delete %s", revoked, item.KeyID)
	case item.KeyID == "":
		return c.say("Logged out of " + item.Server + "; the key that you had brought is still valid there")
	}
	return c.say("Logged out of " + item.Server)
}

// revoke takes back the token that login made. One that is not valid any more needs no revoking.
func (c *command) revoke(ctx context.Context, item contextItem) error {
	t := target{server: item.Server, token: string(item.Token)}
	if item.CA != "" {
		t.ca = []byte(item.CA)
	}
	cl, err := c.reach(t)
	if err != nil {
		return err
	}
	res, err := cl.Do(ctx, http.MethodDelete, "/api/v2/keys/"+url.PathEscape(item.KeyID), nil, nil)
	if api.HasCode(err, api.CodeUnauthorized) {
		return nil
	}
	if err != nil {
		return err
	}
	return res.Body.Close()
}
