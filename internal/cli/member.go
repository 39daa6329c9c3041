package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
)

func (c *command) memberCommand() *cobra.Command {
	cmd := group("member", "Look at the machines of the cluster, whatever their role", c.memberList(), c.memberDelete())
	cmd.Aliases = []string{"members"}
	return cmd
}

func (c *command) memberList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List servers, nodes and gateways", Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			members, err := cl.Members(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(members, func(bool) error {
				var rows [][]string
				for _, m := range members {
					addr := "-"
					if m.Addr != "" {
						addr = clean(m.Addr)
					}
					rows = append(rows, []string{clean(m.Key()), addr, age(m.JoinedAtMS, time.Now())})
				}
				return c.printTable([]string{"MEMBER", "ADDRESS", "AGE"}, rows)
			})
		},
	}
	c.addOutput(cmd)
	return cmd
}

func (c *command) memberDelete() *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use: "delete ROLE/ID", Aliases: []string{"rm"}, Short: "Remove a machine from the cluster, and revoke its credential",
		Example: "  nebula member delete gateway/edge-1", Args: exactly(1, "the member's ROLE/ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			role, id, ok := strings.Cut(args[0], "/")
			if !ok {
				return usagef("%q is not a member: write ROLE/ID, as in: nebula member list", args[0])
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			if err := cl.RemoveMember(cmd.Context(), api.MachineRole(role), id, force); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.env.Stdout, "%s is removed, and its credential is of no use any more\n", clean(args[0]))
			return err
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also a node that serves")
	return cmd
}
