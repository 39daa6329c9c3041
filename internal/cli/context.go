package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

func (c *command) contextCommand() *cobra.Command {
	cmd := group("context", "Choose which cluster to talk to, when you have several",
		c.contextList(), c.contextUse(), c.contextShow(), c.contextSet(), c.contextDelete(), c.contextRename())
	cmd.Aliases = []string{"contexts"}
	cmd.Long = "A context is a cluster that you work with: the address of its server, your credential there, and the authority of its certificate.\n" +
		"\"nebula login\" makes one. They are kept in nebula/config.yaml in your configuration directory, which only you may read."
	return cmd
}

// contextView is a context as it is printed: without its credential.
type contextView struct {
	Name    string `json:"name"`
	Current bool   `json:"current"`
	Server  string `json:"server"`
	User    string `json:"user,omitempty"`
	KeyID   string `json:"key_id,omitempty"`
	Token   bool   `json:"token"`   // there is one
	CAFile  bool   `json:"ca_data"` // there is one
}

func (all *contexts) view(name string) contextView {
	item := all.Contexts[name]
	return contextView{name, name == all.Current, item.Server, item.User, item.KeyID, item.Token != "", item.CA != ""}
}

func (c *command) contextList() *cobra.Command {
	return listCommand(c, listing[contextView]{
		Short: "List the clusters that you work with", Empty: "No contexts. Add one with: nebula login URL",
		Key: func(v contextView) string { return v.Name }, Offline: true,
		Fetch: func(context.Context, *client.Client) ([]contextView, error) {
			all, err := c.readContexts()
			return each(all.names(), all.view), err
		},
		Columns: []column[contextView]{
			{Title: "CURRENT", Text: func(v contextView, _ time.Time) string {
				if v.Current {
					return "*"
				}
				return ""
			}},
			{Title: "NAME", Text: func(v contextView, _ time.Time) string { return v.Name }},
			{Title: "SERVER", Text: func(v contextView, _ time.Time) string { return v.Server }},
			{Title: "USER", Text: func(v contextView, _ time.Time) string { return v.User }},
			{Title: "LOGGED IN", Text: func(v contextView, _ time.Time) string { return yesNo(v.Token) }},
			{Title: "OWN AUTHORITY", Wide: true, Text: func(v contextView, _ time.Time) string { return yesNo(v.CAFile) }},
			{Title: "KEY", Wide: true, Text: func(v contextView, _ time.Time) string { return v.KeyID }},
		},
	})
}

// onContext is a command on one context.
func (c *command) onContext(cmd *cobra.Command, run func(cmd *cobra.Command, name string) error) *cobra.Command {
	cmd.Args, cmd.ValidArgsFunction = exactly(1, "the context's NAME"), c.completeContext
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return run(cmd, args[0]) }
	return cmd
}

func (c *command) contextUse() *cobra.Command {
	cmd := &cobra.Command{Use: "use NAME", Short: "Talk to this cluster from now on", Example: "  nebula context use production"}
	return c.onContext(cmd, func(_ *cobra.Command, name string) error {
		server := ""
		err := c.changeContexts(func(all *contexts) error {
			item, err := all.find(name)
			all.Current, server = name, item.Server
			return err
		})
		if err != nil {
			return err
		}
		return c.say("Commands go to " + name + " (" + server + ") from now on")
	})
}

func (c *command) contextShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show [NAME]", Short: "Show a context, or the one that is used now", ValidArgsFunction: c.completeContext,
		Example: "  nebula context show\n  nebula context show production -o jsonpath='$.server'",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%s takes one NAME, or none for the current context\nSee: %s --help", cmd.CommandPath(), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := c.readContexts()
			if err != nil {
				return err
			}
			name := cmp.Or(strings.Join(args, ""), c.context, all.Current)
			if name == "" {
				return api.Errorf(api.CodeNotFound, "no context is in use: commands go to the server on this machine; add one with: nebula login URL")
			}
			if _, err := all.find(name); err != nil {
				return err
			}
			v := all.view(name)
			return c.print(v, func(bool) error {
				return c.say(fmt.Sprintf("Name:       %s\nCurrent:    %s\nServer:     %s\nUser:       %s\nLogged in:  %s\nAuthority:  %s",
					v.Name, yesNo(v.Current), v.Server, orDash(v.User), yesNo(v.Token), map[bool]string{true: "its own", false: "the system's"}[v.CAFile]))
			})
		},
	}
	c.addOutput(cmd)
	return cmd
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (c *command) contextSet() *cobra.Command {
	fromStdin := false
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Add a context, or change one, without asking its server",
		Long: "Add a context, or change what the flags say of one: --server, --ca-file (the file's content is kept), --token-stdin. A changed address\n" +
			"makes the context forget its credential, unless a new one comes with it. \"nebula login\" does the same and checks it.",
		Example: "  nebula context set production --server https://nebula.example.com --ca-file ca.pem\n" +
			"  nebula context set production --token-stdin < token.txt",
	}
	cmd.Flags().BoolVar(&fromStdin, "token-stdin", false, "read the credential from standard input")
	return c.onContext(cmd, func(_ *cobra.Command, name string) error {
		if err := checkContextName(name); err != nil {
			return err
		}
		if c.fromFlags["token"] {
			return usagef("on the command line others can read the token: give it on standard input, with --token-stdin")
		}
		change, err := c.contextChange(fromStdin)
		if err != nil {
			return err
		}
		if err := c.changeContexts(func(all *contexts) error { return all.set(name, change) }); err != nil {
			return err
		}
		return c.say("Context " + name + " is set; use it with: nebula context use " + name)
	})
}

// contextChange is what the flags say of a context.
func (c *command) contextChange(tokenFromStdin bool) (contextItem, error) {
	var out contextItem
	if c.fromFlags["server"] {
		u, err := serverURL(c.server)
		if err != nil {
			return out, err
		}
		out.Server = u.String()
	}
	if c.caFile != "" {
		pem, err := os.ReadFile(c.caFile)
		if err != nil {
			return out, usagef("read the certificate authority: %w", err)
		}
		if err := checkPEM(pem, c.caFile); err != nil {
			return out, err
		}
		out.CA = string(pem)
	}
	if tokenFromStdin {
		token, err := c.readToken()
		if err != nil {
			return out, err
		}
		out.Token = token
	}
	if out == (contextItem{}) {
		return out, usagef("nothing to set: give --server, --ca-file or --token-stdin")
	}
	return out, nil
}

// set applies a change to a context, which need not exist yet.
func (all *contexts) set(name string, change contextItem) error {
	item, exists := all.Contexts[name]
	if !exists && change.Server == "" {
		return usagef("there is no context %s: to add it give its --server", name)
	}
	if change.Server != "" && (!exists || !sameServer(change.Server, item.Server)) {
		item = contextItem{Server: change.Server} // a credential never goes to another server by a change of address
	}
	if change.CA != "" {
		item.CA = change.CA
	}
	if change.Token != "" {
		item.Token, item.KeyID, item.User = change.Token, change.KeyID, change.User
	}
	all.Contexts[name] = item
	if all.Current == "" {
		all.Current = name
	}
	return nil
}

func (c *command) contextDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Forget a context", Example: "  nebula context delete production",
		Long: "Forget a context. Its credential stays valid at its server: \"nebula logout\" revokes it first.",
	}
	return c.onContext(cmd, func(_ *cobra.Command, name string) error {
		wasCurrent, loggedIn := false, false
		err := c.changeContexts(func(all *contexts) error {
			item, err := all.find(name)
			if err != nil {
				return err
			}
			delete(all.Contexts, name)
			loggedIn = item.KeyID != ""
			if wasCurrent = all.Current == name; wasCurrent {
				all.Current = ""
			}
			return nil
		})
		if err != nil {
			return err
		}
		text := "Context " + name + " is forgotten"
		if loggedIn {
			text += "; its token is still valid at the server"
		}
		if wasCurrent {
			text += "; commands go to the server on this machine until you choose another"
		}
		return c.say(text)
	})
}

func (c *command) contextRename() *cobra.Command {
	return &cobra.Command{
		Use: "rename OLD NEW", Short: "Give a context another name", Args: exactly(2, "the context's OLD name and the NEW one"),
		Example: "  nebula context rename 10.0.0.1:8081 staging", ValidArgsFunction: c.completeContext,
		RunE: func(_ *cobra.Command, args []string) error {
			from, to := args[0], args[1]
			if err := checkContextName(to); err != nil {
				return err
			}
			err := c.changeContexts(func(all *contexts) error {
				item, err := all.find(from)
				if err != nil {
					return err
				}
				if _, taken := all.Contexts[to]; taken {
					return api.Errorf(api.CodeConflict, "there is a context %s already: choose another name, or delete that one", to)
				}
				delete(all.Contexts, from)
				all.Contexts[to] = item
				if all.Current == from {
					all.Current = to
				}
				return nil
			})
			if err != nil {
				return err
			}
			return c.say("Context " + from + " is called " + to + " now")
		},
	}
}

// completeContext offers the names of contexts.
func (c *command) completeContext(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	all, err := c.readContexts()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return each(all.names(), func(name string) string { return name + "\t" + all.Contexts[name].Server }), cobra.ShellCompDirectiveNoFileComp
}

// errNoToken says that standard input was empty.
var errNoToken = errors.New("the token is empty: write it to standard input, as in: nebula login URL --token-stdin < token.txt")
