package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/app"
)

func (c *command) adminCommand() *cobra.Command {
	return group("admin", "Look after the cluster's store: condition, backup, space",
		c.storeVerb("status", "Show the store's members, size and alarms", "", (*client.Client).StoreStatus),
		c.backupCommand(), c.restoreCommand(), c.acceptCommand(),
		c.storeVerb("reclaim", "Make room in a full store: compact, defragment, and take back the alarm",
			"A store that has reached its quota takes no changes but deletions; models go on running. Remove what is not needed, then run this.",
			(*client.Client).ReclaimStore),
		c.storeVerb("compact", "Forget the store's history of changes", "It happens by itself every hour.", (*client.Client).CompactStore),
		c.storeVerb("defrag", "Give the store's free space back to the disk",
			"One member after the other, the leader last. A member answers nothing for the moment that it takes.", (*client.Client).DefragmentStore),
		c.alarmCommand(),
		c.auditRepair(),
		c.migrateCommand(),
		c.v1Usage(),
	)
}

// storeVerb is a command without arguments that ends with the store's condition.
func (c *command) storeVerb(use, short, long string, do func(*client.Client, context.Context) (api.StoreStatus, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.storeStatus(cmd.Context(), do) },
	}
	c.addOutput(cmd)
	return cmd
}

func (c *command) alarmCommand() *cobra.Command {
	disarm := false
	cmd := &cobra.Command{
		Use: "alarm", Short: "Show the alarm that the store is full, or take it back with --disarm", Args: exactly(0, "no argument"),
		Long: "After the alarm was taken back the store takes changes again. When it is still full the alarm comes again:\nnebula admin reclaim makes room first.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if disarm {
				return c.storeStatus(cmd.Context(), (*client.Client).DisarmStore)
			}
			return c.storeStatus(cmd.Context(), (*client.Client).StoreStatus)
		},
	}
	cmd.Flags().BoolVar(&disarm, "disarm", false, "take the alarm back")
	c.addOutput(cmd)
	return cmd
}

func (c *command) storeStatus(ctx context.Context, do func(*client.Client, context.Context) (api.StoreStatus, error)) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	s, err := do(cl, ctx)
	if err != nil {
		return err
	}
	return c.print(s, func(wide bool) error { return c.storeTable(s, wide) })
}

func (c *command) storeTable(s api.StoreStatus, wide bool) error {
	header := []string{"MEMBER", "ROLE", "ANSWERS", "SIZE", "IN USE", "REVISION"}
	if wide {
		header = append(header, "VERSION", "ID", "PEER URL")
	}
	var rows [][]string
	for _, m := range s.Members {
		row := []string{clean(m.Name), m.Role, "no", "-", "-", "-"}
		if m.Name == "" {
			row[0] = "(not started)"
		}
		if m.Answers {
			row = []string{row[0], m.Role, "yes", size(uint64(m.Bytes)), size(uint64(m.InUseBytes)), fmt.Sprint(m.Revision)}
		}
		if wide {
			row = append(row, clean(m.Version), clean(m.ID), clean(m.PeerURL))
		}
		rows = append(rows, row)
	}
	if err := c.printTable(header, rows); err != nil {
		return err
	}
	alarm := "none"
	if s.Full {
		alarm = "the store is full"
	}
	text := fmt.Sprintf("\nSize %s of %s, alarm: %s\n", size(uint64(s.Bytes)), size(uint64(s.QuotaBytes)), alarm)
	if s.Next != "" {
		text += "Next: " + clean(s.Next) + "\n"
	}
	_, err := fmt.Fprint(c.env.Stdout, text)
	return err
}

func (c *command) backupCommand() *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Save a backup of the store",
		Long: "Save the whole store, as of one moment, to FILE. The file is checked, is only for its owner, and is there as a whole or not at all.\n" +
			"It holds the cluster's secrets, those that people have set sealed: keep it safe, and keep the folder pki of a server's data directory too,\n" +
			"without which nobody can open them. The models' files are not in it.",
		Example: "  nebula admin backup nebula-$(date +%F).backup",
		Args:    exactly(1, "the file to write"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			n, err := app.SaveBackup(args[0], force, func(to io.Writer) error { return cl.Backup(cmd.Context(), to) })
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.env.Stdout, "Saved %s to %s, checked. Restore it with: nebula admin restore %s\n", size(uint64(n)), args[0], args[0])
			return err
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE if it exists")
	return cmd
}

func (c *command) restoreCommand() *cobra.Command {
	return &cobra.Command{
		Use: "restore FILE --data-dir DIR", Short: "Put a backup in the place of the store of a server that is stopped",
		Long: "Put a backup in the place of the store in DIR. The server must be stopped; the former store is kept beside the new one.\n\n" +
			"Of a cluster with several servers, stop all, restore on one of them, start that one with --cluster-init, and let the others join\n" +
			"again as new ones.\n\n" +
			"Engines go on running meanwhile, and afterwards nodes stop nothing that the backup does not know until you have looked and run\n" +
			"nebula admin accept-history.",
		Example: "  nebula admin restore nebula-2026-03-01.backup --data-dir /var/lib/nebula",
		Args:    exactly(1, "the backup's file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := c.dataDir()
			if err != nil {
				return err
			}
			aside, err := app.Restore(cmd.Context(), args[0], dir, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			text := fmt.Sprintf("Restored %s into %s.\n", args[0], dir)
			if aside != "" {
				text += fmt.Sprintf("The former store is in %s; remove it when you are sure.\n", aside)
			}
			_, err = fmt.Fprint(c.env.Stdout, text+
				"Next: start the server as before (the first of several with --cluster-init; the others join again as new servers, with an\n"+
				"empty store directory). Look at nebula model list; nodes keep what they run until you say: nebula admin accept-history\n")
			return err
		},
	}
}

func (c *command) acceptCommand() *cobra.Command {
	return &cobra.Command{
		Use: "accept-history", Short: "Say that a restored cluster is right: nodes may stop what it does not name", Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if _, err := cl.AcceptHistory(cmd.Context()); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.env.Stdout, "Accepted: from now on nodes stop what the cluster does not name.")
			return err
		},
	}
}
