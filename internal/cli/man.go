package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (c *command) manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the manual pages of all commands to a folder", Args: exactly(1, "the folder to write to"),
		Long:    "Write the manual pages of all commands to DIR, which is made when it is missing. Their date is that of SOURCE_DATE_EPOCH, or today.",
		Example: "  nebula man ~/.local/share/man/man1 && man nebula-model-create",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return usagef("make the folder: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			if err := doc.GenManTree(root, &doc.GenManHeader{Title: "NEBULA", Section: "1", Source: "Nebula " + version, Manual: "Nebula"}, args[0]); err != nil {
				return fmt.Errorf("write the manual pages: %w", err)
			}
			return c.say("Manual pages are in " + args[0] + "; look with: man -l " + args[0] + "/nebula.1")
		},
	}
}
