package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

func (c *command) memberCommand() *cobra.Command {
	cmd := group("member", "Look at the machines of the cluster, whatever their role", c.memberList(), c.memberDelete())
	cmd.Aliases = []string{"members"}
	return cmd
}

func (c *command) memberList() *cobra.Command {
	return listCommand(c, listing[api.Member]{
		Short: "List servers, nodes and gateways", Empty: "No machines have joined. Let one join with: nebula token create --for node",
		Key:   func(m api.Member) string { return m.Key() },
		Fetch: func(ctx context.Context, cl *client.Client) ([]api.Member, error) { return cl.Members(ctx) },
		Columns: []column[api.Member]{
			{Title: "MEMBER", Text: func(m api.Member, _ time.Time) string { return m.Key() }},
			{Title: "ADDRESS", Text: func(m api.Member, _ time.Time) string { return m.Addr }},
			{Title: "AGE", Text: func(m api.Member, now time.Time) string { return age(m.JoinedAtMS, now) }},
		},
	})
}

func (c *command) memberDelete() *cobra.Command {
	force := false
	cmd := doCommand(c, doing{
		Use: "delete ROLE/ID", Aliases: []string{"rm"}, Short: "Remove a machine from the cluster, and revoke its credential",
		Example: "  nebula member delete gateway/edge-1", Arg: "the member's ROLE/ID", Complete: c.completeMember,
		Do: func(ctx context.Context, cl *client.Client, member string) (any, string, error) {
			role, id, ok := strings.Cut(member, "/")
			if !ok {
				return nil, "", usagef("%q is not a member: write ROLE/ID, as in: nebula member list", member)
			}
			return nil, member + " is removed, and its credential is of no use any more", cl.RemoveMember(ctx, api.MachineRole(role), id, force)
		},
	})
	cmd.Flags().BoolVar(&force, "force", false, "also a node that serves")
	return cmd
}
