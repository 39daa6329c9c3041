// Package cli is the command line of Nebula: commands, output formats and exit codes. Every command but the ones that run a
// process is a client of the REST API; nothing here knows the store.
package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/internal/app"
)

// version is set by the linker.
var version = "dev"

// Env is the world that a command runs in.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	// Through is put around the transport of every request to a server; nil: nothing is.
	Through func(http.RoundTripper) http.RoundTripper
}

// Exit codes, beside those of api.Code.ExitCode.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// Main runs one command line and returns the exit code: 0 ok, 1 error, 2 usage, 3 not found, 4 conflict, 5 timeout.
func Main(args []string) int { return MainThrough(nil, args) }

// MainThrough is Main with something around the transport of every request to a server: tests look at what is answered.
func MainThrough(through func(http.RoundTripper) http.RoundTripper, args []string) int {
	if len(args) > 0 {
		if code, ok := app.Child(args[0], args[1:]); ok { // the shim and the store's process: light, and not for people
			return code
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	return Run(ctx, Env{os.Stdin, os.Stdout, os.Stderr, os.Getenv, through}, args)
}

// Run is Main in a world of the caller's.
func Run(ctx context.Context, env Env, args []string) int {
	c := &command{env: env}
	root := newRoot(c)
	root.SetArgs(args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return c.report(ctx, cmd, err)
}

// quiet is an error whose text has been printed already.
type quiet struct{ code int }

func (q *quiet) Error() string { return fmt.Sprintf("exit %d", q.code) }

// usageError is a wrong command line.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// command is what all commands share.
type command struct {
	env     Env
	server  string
	token   string
	dir     string
	caFile  string
	context string

	fromFlags map[string]bool // which of server, token and context stand on the command line itself
	output    *output         // of the command that runs
}

func newRoot(c *command) *cobra.Command {
	root := &cobra.Command{
		Use:   "nebula",
		Short: "Serve models on your own machines behind one OpenAI-compatible endpoint",
		Long: "Nebula turns a laptop, a workstation or a fleet of GPU servers into a model-serving platform.\n\n" +
			"Start with \"nebula up\", declare a model with \"nebula model create\", talk to it with \"nebula chat\".",
		SilenceErrors: true, SilenceUsage: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return c.options(cmd)
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&c.server, "server", "", "address of the Nebula server (default: that of the context, or the one on this machine)")
	f.StringVar(&c.token, "token", "", "credential (default: that of the context, or the data directory's admin.token for a server on this machine)")
	f.StringVar(&c.context, "context", "", "which cluster of \"nebula context list\" to talk to (default: the current one)")
	_ = root.RegisterFlagCompletionFunc("context", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return c.completeContext(cmd, nil, typed)
	})
	_ = f.SetAnnotation("server", alsoEnv, []string{"NEBULA_GATEWAY_URL"}) // of the existing Nebula; the flags were just made, it cannot fail
	_ = f.SetAnnotation("token", alsoEnv, []string{"NEBULA_GATEWAY_TOKEN"})
	root.SetGlobalNormalizationFunc(oldFlags)
	f.StringVar(&c.dir, "data-dir", "", "Nebula's data directory (default "+defaultDirHelp+")")
	f.StringVar(&c.caFile, "ca-file", "", "certificate authority of an https server, a PEM file (default: the cluster's, where the data directory has it)")
	f.String("config", "", "file with options in YAML, name: value")
	root.SetFlagErrorFunc(flagError)
	root.SuggestionsMinimumDistance = 2
	c.addCommands(root)
	return root
}

// addCommands is the table of commands, by what they are about; one a line, so that several people can add theirs.
func (c *command) addCommands(root *cobra.Command) {
	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"models", "Models:", []*cobra.Command{
			c.modelCommand(),
			c.templateCommand(),
			c.chatCommand(),
			c.logsCommand(),
			c.scaleCommand(),
			c.drainCommand(),
			c.applyCommand(),
			c.diffCommand(),
			c.exportCommand(),
		}},
		{"cluster", "The cluster:", []*cobra.Command{
			c.clusterCommand(),
			c.topCommand(),
			c.asNode(c.nodeCommand()),
			c.endpointCommand(),
			c.cacheCommand(),
			c.diskCommand(),
			c.memberCommand(),
			c.tokenCommand(),
			c.metricsCommand(),
			c.auditCommand(),
			c.adminCommand(),
		}},
		{"access", "Access:", []*cobra.Command{
			c.loginCommand(),
			c.logoutCommand(),
			c.whoamiCommand(),
			c.passwordCommand(),
			c.profileCommand(),
			c.contextCommand(),
			c.keyCommand(),
			c.secretCommand(),
			c.userCommand(),
			c.sessionCommand(),
			c.setupCommand(),
		}},
		{"run", "Running Nebula:", []*cobra.Command{
			c.upCommand(),
			c.serverCommand(),
			c.gatewayCommand(),
			c.demoModelCommand(),
			c.versionCommand(),
			c.manCommand(),
		}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, cmd := range g.commands {
			cmd.GroupID = g.id
			root.AddCommand(cmd)
		}
	}
}

func unknownCommand(cmd *cobra.Command, name string) error {
	hint := ""
	if s := cmd.SuggestionsFor(name); len(s) > 0 {
		hint = fmt.Sprintf("\nDid you mean: %s %s?", cmd.CommandPath(), s[0])
	}
	return usagef("unknown command %q for %q%s\nSee: %s --help", name, cmd.CommandPath(), hint, cmd.CommandPath())
}

// group is a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, SuggestionsMinimumDistance: 2,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(subs...)
	return cmd
}

// exactly wants n arguments and says which.
func exactly(n int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("%s needs %s\nSee: %s --help", cmd.CommandPath(), names, cmd.CommandPath())
		}
		return nil
	}
}
