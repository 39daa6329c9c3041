package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

func (c *command) tokenCommand() *cobra.Command {
	cmd := group("token", "Make and take back the tokens with which machines join", c.tokenCreate(), c.tokenList(), c.tokenRevoke())
	cmd.Aliases = []string{"tokens"}
	return cmd
}

func (c *command) tokenCreate() *cobra.Command {
	var role string
	var ttl time.Duration
	var req api.CreateJoinToken
	cmd := &cobra.Command{
		Use: "create --for node|server|gateway", Short: "Make a token with which one machine can join",
		Long: "Make a token with which one machine can join the cluster, once, and print it with the command to type there.\n\n" +
			"Whoever has the token can join: hand it over like a password. It is shown this one time only.",
		Example: "  nebula token create --for node\n  nebula token create --for node --name gpu-7 --ttl 2h",
		Args:    exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			req.For = api.MachineRole(role)
			if !slices.Contains(api.MachineRoles(), req.For) {
				return usagef("for what? Give --for node, --for server or --for gateway")
			}
			if ttl < time.Second || ttl > 24*time.Hour {
				return usagef("--ttl must be between 1s and 24h")
			}
			req.TTLSeconds = int64(ttl / time.Second)
			cl, err := c.client()
			if err != nil {
				return err
			}
			made, err := cl.CreateToken(cmd.Context(), req)
			if err != nil {
				return err
			}
			return c.print(made, func(bool) error { return c.explainToken(cmd.Context(), cl, made) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&role, "for", "", "what the machine is to be: node, server or gateway")
	f.StringVar(&req.Name, "name", "", "the only name under which a machine may join with it; needed to join again under a name that is taken")
	f.DurationVar(&ttl, "ttl", 30*time.Minute, "how long it can be used")
	_ = cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions([]string{"node", "server", "gateway"}, cobra.ShellCompDirectiveNoFileComp))
	c.addOutput(cmd)
	return cmd
}

// explainToken prints the token alone on stdout, for scripts, and what to do with it on stderr.
func (c *command) explainToken(ctx context.Context, cl *client.Client, made api.JoinTokenCreated) error {
	if _, err := fmt.Fprintln(c.env.Stdout, made.Token); err != nil {
		return err
	}
	server := "https://HOST:PORT"
	hint := " (HOST:PORT is the --fleet-listen address of a server, as the machine reaches it)"
	if view, err := cl.Cluster(ctx); err == nil { // without it the address is left open
		if i := slices.IndexFunc(view.Servers, func(s api.ServerView) bool { return s.Addr != "" }); i >= 0 {
			server, hint = "https://"+clean(view.Servers[i].Addr), ""
		}
	}
	name := ""
	if made.Name != "" {
		name = " --node-id " + clean(made.Name)
	}
	command := fmt.Sprintf("nebula %s --server %s%s --token %s", made.For, server, name, made.Token)
	if made.For == api.MachineServer {
		command = fmt.Sprintf("nebula server --join %s%s --token %s", server, name, made.Token)
	}
	_, err := fmt.Fprintf(c.env.Stderr, "\nOne machine can join with it until %s. Type there%s:\n\n  %s\n",
		time.UnixMilli(made.ExpiresAtMS).Format("15:04 on Jan 2"), hint, command)
	return err
}

func (c *command) tokenList() *cobra.Command {
	return listCommand(c, listing[api.JoinTokenView]{
		Short: "List the tokens that are not used yet", Empty: "No tokens. Make one with: nebula token create --for node",
		Key:   func(t api.JoinTokenView) string { return t.ID },
		Fetch: func(ctx context.Context, cl *client.Client) ([]api.JoinTokenView, error) { return cl.Tokens(ctx) },
		Columns: []column[api.JoinTokenView]{
			{Title: "ID", Text: func(t api.JoinTokenView, _ time.Time) string { return t.ID }},
			{Title: "FOR", Text: func(t api.JoinTokenView, _ time.Time) string { return string(t.For) }},
			{Title: "NAME", Text: func(t api.JoinTokenView, _ time.Time) string { return cmp.Or(t.Name, "any") }},
			{Title: "AGE", Text: func(t api.JoinTokenView, now time.Time) string { return age(t.CreatedAtMS, now) }},
			{Title: "GOOD FOR", Text: func(t api.JoinTokenView, now time.Time) string {
				return max(time.UnixMilli(t.ExpiresAtMS).Sub(now), 0).Truncate(time.Second).String()
			}},
		},
	})
}

func (c *command) tokenRevoke() *cobra.Command {
	return doCommand(c, doing{
		Use: "revoke ID", Aliases: []string{"delete", "rm"}, Short: "Take back a token that is not used yet", Arg: "the token's ID", Complete: c.completeToken,
		Example: "  nebula token revoke 3fq7c2m5xk4a",
		Do: func(ctx context.Context, cl *client.Client, id string) (any, string, error) {
			id = tokenID(id)
			return map[string]string{"id": id, "status": "revoked"}, "Token " + id + " is taken back", cl.RevokeToken(ctx, id)
		},
	})
}

// tokenID takes the id out of a whole token, which people have at hand; the rest of it goes nowhere.
func tokenID(given string) string {
	if parts := strings.Split(given, "_"); len(parts) == 4 && parts[0] == "nbj" {
		return parts[1]
	}
	return given
}
