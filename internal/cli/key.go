package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

func (c *command) keyCommand() *cobra.Command {
	cmd := group("key", "Make and manage API keys, for programs",
		c.keyList(), c.keyGet(), c.keyCreate(), c.keyUpdate(), c.keySwitch("disable", true), c.keySwitch("enable", false), c.keyRotate(), c.keyDelete())
	cmd.Aliases = []string{"keys"}
	return cmd
}

func (c *command) keyList() *cobra.Command {
	owner := ""
	cmd := listCommand(c, listing[api.KeyView]{
		Short: "List keys, without their secrets: your own, or those of all for admins", Empty: "No keys. Make one with: nebula key create NAME",
		Key:   func(k api.KeyView) string { return k.ID },
		Fetch: func(ctx context.Context, cl *client.Client) ([]api.KeyView, error) { return cl.Keys(ctx, owner) },
		Columns: []column[api.KeyView]{
			{Title: "ID", Text: func(k api.KeyView, _ time.Time) string { return k.ID }},
			{Title: "NAME", Text: func(k api.KeyView, _ time.Time) string { return k.Name }},
			{Title: "OWNER", Text: func(k api.KeyView, _ time.Time) string { return k.Owner }},
			{Title: "ROLE", Text: func(k api.KeyView, _ time.Time) string { return string(k.Role) }},
			{Title: "STATE", Text: func(k api.KeyView, _ time.Time) string { return string(k.State) }},
			{Title: "MODELS", Text: func(k api.KeyView, _ time.Time) string { return allOr(k.Scopes.Models) }},
			{Title: "ROUTES", Wide: true, Text: func(k api.KeyView, _ time.Time) string { return allOr(k.Scopes.Routes) }},
			{Title: "AGE", Text: func(k api.KeyView, now time.Time) string { return age(k.CreatedAtMS, now) }},
			{Title: "USED", Text: func(k api.KeyView, now time.Time) string {
				if k.LastUsedMS == 0 {
					return "never"
				}
				return age(k.LastUsedMS, now)
			}},
			{Title: "EXPIRES", Text: func(k api.KeyView, _ time.Time) string { return day(k.ExpiresAtMS) }},
		},
	})
	cmd.Flags().StringVar(&owner, "owner", "", "keys of this user only; for admins")
	return cmd
}

func (c *command) keyGet() *cobra.Command {
	return showCommand(c, showing[api.KeyView]{
		Use: "get ID", Short: "Show one key, without its secret", Example: "  nebula key get 0123456789abcdef", Arg: "the key's ID", Complete: c.completeKey,
		Fetch: func(ctx context.Context, cl *client.Client, id string) (api.KeyView, error) { return cl.Key(ctx, id) },
		Detail: func(k api.KeyView) error {
			return c.fields("ID", k.ID, "Name", k.Name, "Owner", k.Owner, "Role", string(k.Role), "State", string(k.State), "Models", allOr(k.Scopes.Models),
				"Routes", allOr(k.Scopes.Routes), "Expires", day(k.ExpiresAtMS))
		},
	})
}

func allOr(list []string) string {
	if len(list) == 0 {
		return "all"
	}
	return strings.Join(list, ",")
}

func day(ms int64) string {
	if ms == 0 {
		return "never"
	}
	return time.UnixMilli(ms).Format(time.DateOnly)
}

func (c *command) keyCreate() *cobra.Command {
	var req api.CreateKey
	var role string
	var models, routes []string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a key; it is shown this one time only", Args: exactly(1, "a NAME that says what the key is for"),
		Long: "Make a key, which is printed on standard output this one time only. It can do no more than you can, and no more than its role and scopes\n" +
			"say; it works on every gateway at once.",
		Example: "  nebula key create chatbot --model qwen3-8b\n  nebula key create ci --role operator --route '/api/v2/models*' --days 30",
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Name, req.Role, req.Scopes = args[0], api.Role(role), api.Scopes{Models: models, Routes: routes}
			if err := req.Validate(); err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			made, err := cl.CreateKey(cmd.Context(), req)
			if err != nil {
				return err
			}
			return c.print(made, func(bool) error { return c.showKey(made) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&role, "role", "inference", "what it may do: inference, viewer, operator or admin")
	f.StringSliceVar(&models, "model", nil, "only this model, by uid; \"*\" at the end stands for any end; may be repeated (default: all)")
	f.StringSliceVar(&routes, "route", nil, "only this path, such as /v1/embeddings or '/v1/*'; may be repeated (default: all that the role allows)")
	f.IntVar(&req.ExpiresInDays, "days", api.KeyLifeDays, "how long it lives, at most 365")
	f.StringVar(&req.Owner, "owner", "", "whose key it is; for admins (default: yours)")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(keyRoles(), cobra.ShellCompDirectiveNoFileComp))
	c.addOutput(cmd)
	return cmd
}

func keyRoles() []string { return []string{"inference", "viewer", "operator", "admin"} }

// showKey prints a key alone on stdout, for scripts, and what there is to know on stderr.
func (c *command) showKey(made api.KeyCreated) error {
	if _, err := fmt.Fprintln(c.env.Stdout, string(made.Key)); err != nil {
		return err
	}
	former := ""
	if made.FormerUntilMS > 0 {
		former = " The former secret is good until " + time.UnixMilli(made.FormerUntilMS).Format("15:04 on Jan 2") + "."
	}
	_, err := fmt.Fprintf(c.env.Stderr, "\nKeep it now: nobody can show it again. Key %s (%s, %s) is %s's and lives until %s.%s\n",
		clean(made.ID), clean(made.Name), clean(string(made.Role)), clean(made.Owner), day(made.ExpiresAtMS), former)
	return err
}

func (c *command) keyUpdate() *cobra.Command {
	var name, role string
	var models, routes []string
	var days int
	var set func(string) bool // whether a flag was given
	cmd := doCommand(c, doing{
		Use: "update ID", Short: "Change a key's name, role, scopes or end", Arg: "the key's ID", Complete: c.completeKey,
		Example: "  nebula key update 3k9x0c1v2b7n --model qwen3-8b --model 'bge-*'\n  nebula key update 3k9x0c1v2b7n --days 90",
		Do: func(ctx context.Context, cl *client.Client, id string) (any, string, error) {
			var req api.UpdateKey
			if set("name") {
				req.Name = &name
			}
			if r := api.Role(role); set("role") {
				req.Role = &r
			}
			if set("days") {
				req.ExpiresInDays = &days
			}
			if set("model") || set("route") {
				now, err := cl.Key(ctx, id)
				if err != nil {
					return nil, "", err
				}
				if set("model") {
					now.Scopes.Models = models
				}
				if set("route") {
					now.Scopes.Routes = routes
				}
				req.Scopes = &now.Scopes
			}
			if req == (api.UpdateKey{}) {
				return nil, "", usagef("change what? Give --name, --role, --model, --route or --days")
			}
			v, err := cl.UpdateKey(ctx, id, req)
			return v, "Key " + id + " is changed", err
		},
	})
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "what it is for")
	f.StringVar(&role, "role", "", "what it may do: inference, viewer, operator or admin")
	f.StringSliceVar(&models, "model", nil, "only these models, instead of those so far; \"*\" for all")
	f.StringSliceVar(&routes, "route", nil, "only these paths, instead of those so far; \"*\" for all")
	f.IntVar(&days, "days", 0, "how long it lives from now on, at most 365")
	set = f.Changed
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(keyRoles(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (c *command) keySwitch(verb string, disabled bool) *cobra.Command {
	short := "Let a key be used again"
	if disabled {
		short = "Let nobody use a key until it is enabled again"
	}
	return doCommand(c, doing{
		Use: verb + " ID", Short: short, Arg: "the key's ID", Complete: c.completeKey, Example: "  nebula key " + verb + " 3k9x0c1v2b7n",
		Do: func(ctx context.Context, cl *client.Client, id string) (any, string, error) {
			v, err := cl.UpdateKey(ctx, id, api.UpdateKey{Disabled: &disabled})
			return v, "Key " + id + " is " + verb + "d", err
		},
	})
}

func (c *command) keyRotate() *cobra.Command {
	var req api.RotateKey
	cmd := &cobra.Command{
		Use: "rotate ID", Short: "Give a key another secret; it is shown this one time only", Args: exactly(1, "the key's ID"), ValidArgsFunction: c.completeKey,
		Example: "  nebula key rotate 3k9x0c1v2b7n --overlap-hours 24",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			made, err := cl.RotateKey(cmd.Context(), args[0], req)
			if err != nil {
				return err
			}
			return c.print(made, func(bool) error { return c.showKey(made) })
		},
	}
	cmd.Flags().IntVar(&req.OverlapHours, "overlap-hours", 0, "how long the present secret stays good beside the new one, at most 24")
	c.addOutput(cmd)
	return cmd
}

func (c *command) keyDelete() *cobra.Command {
	return doCommand(c, doing{
		Use: "delete ID", Aliases: []string{"rm"}, Short: "End a key for good", Arg: "the key's ID", Complete: c.completeKey,
		Example: "  nebula key delete 3k9x0c1v2b7n",
		Do: func(ctx context.Context, cl *client.Client, id string) (any, string, error) {
			return api.KeyDeleted{ID: id, Status: "deleted"}, "Key " + id + " is deleted", cl.DeleteKey(ctx, id)
		},
	})
}
