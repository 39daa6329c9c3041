package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

func (c *command) migrateCommand() *cobra.Command {
	dry := false
	cmd := &cobra.Command{
		Use: "migrate", Short: "Take over the models that an existing Nebula (version 1) has left in the store", Args: exactly(0, "no argument"),
		Long: "Each request of version 1 becomes a model of its own, in one step or not at all. Nothing that runs is stopped or moved, the requests\n" +
			"stay, and the command can be repeated at any time: what is taken over already is skipped.",
		Example: "  nebula admin migrate --dry-run\n  nebula admin migrate",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			m, err := cl.On(client.Write{DryRun: dry}).Migrate(cmd.Context())
			if err != nil {
				return err
			}
			if err := c.print(m, func(bool) error { return c.migration(m, dry) }); err != nil {
				return err
			}
			if m.Failed > 0 {
				return fmt.Errorf("%d of %d could not be taken over; the others were: mend what is said above, then run this again", m.Failed, m.Total)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only tell what would happen")
	c.addOutput(cmd)
	return cmd
}

// migration prints what became of each request.
func (c *command) migration(m api.Migration, dry bool) error {
	verb := "Taken over"
	if dry {
		verb = "To be taken over"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d; skipped: %d; failed: %d\n", verb, m.Migrated, m.Total, m.Skipped, m.Failed)
	for _, d := range m.Details {
		uid, why := clean(d.ModelUID), ""
		if uid == "" {
			uid = "request " + clean(d.RequestID)
		}
		if d.Reason != "" {
			why = " (" + clean(d.Reason) + ")"
		}
		switch d.Action {
		case api.MigrationMigrated:
			fmt.Fprintf(&b, "✓ %s → %s%s\n", uid, d.DesiredState, why)
		case api.MigrationSkipped:
			fmt.Fprintf(&b, "○ %s skipped%s\n", uid, why)
		default:
			fmt.Fprintf(&b, "✗ %s failed%s\n", uid, why)
		}
	}
	return c.printStyled(b.String())
}

// v1Usage tells whom to talk to before version 1 goes.
func (c *command) v1Usage() *cobra.Command {
	cmd := listCommand(c, listing[api.V1Use]{
		Short: "Show who still calls version 1 of the API on this server, since it was started", Empty: "Nobody has called version 1 since this server was started",
		Key:   func(u api.V1Use) string { return u.ID },
		Fetch: func(ctx context.Context, cl *client.Client) ([]api.V1Use, error) { return cl.V1Usage(ctx) },
		Columns: []column[api.V1Use]{
			{Title: "WHO", Text: func(u api.V1Use, _ time.Time) string { return u.Principal }},
			{Title: "AGENT", Text: func(u api.V1Use, _ time.Time) string { return u.Agent }},
			{Title: "ROUTE", Text: func(u api.V1Use, _ time.Time) string { return u.Route }},
			{Title: "CALLS", Text: func(u api.V1Use, _ time.Time) string { return strconv.FormatUint(u.Calls, 10) }},
			{Title: "LAST", Text: func(u api.V1Use, now time.Time) string { return age(u.LastMS, now) }},
			{Title: "FROM", Wide: true, Text: func(u api.V1Use, _ time.Time) string { return u.Source }},
			{Title: "CALL INSTEAD", Wide: true, Text: func(u api.V1Use, _ time.Time) string { return u.Successor }},
		},
	})
	cmd.Use, cmd.Example = "v1-usage", "  nebula admin v1-usage -o wide"
	return cmd
}
