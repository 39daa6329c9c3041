package cli

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/nebula-serve/nebula/api"
)

// login is what "nebula login" was asked for.
type login struct {
	c          *command
	name       string
	tokenStdin bool
	use        bool
}

func (c *command) loginCommand() *cobra.Command {
	l := &login{c: c}
	cmd := &cobra.Command{
		Use: "login [URL]", Short: "Log in to a server, and keep that in a context",
		Long: "Log in to the server at URL (default: that of the context, or the one on this machine), check the credential there and keep both in a\n" +
			"context, to which commands go from then on. The credential is never taken from the command line, where others can read it.",
		Example: "  nebula login https://nebula.example.com --name production\n" +
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

// credential reads the credential, or makes one.
func (l *login) credential(_ context.Context, _ target, into *contextItem) error {
	if !l.tokenStdin {
		return usagef("how? Give --token-stdin, and a key or token on standard input")
	}
	token, err := l.c.readToken()
	into.Token = token
	return err
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
