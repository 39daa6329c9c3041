package cli

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/demomodel"
)

func (c *command) nodeCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List nodes", Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			nodes, err := cl.Nodes(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(nodes, func(wide bool) error { return c.nodeTable(nodes, wide) })
		},
	}
	c.addOutput(list)
	cmd := group("node", "Look after the machines that run engines", list, c.nodeCordon(), c.nodeUncordon(), c.nodeDrain(), c.nodeDelete())
	cmd.Aliases = []string{"nodes"}
	return cmd
}

func (c *command) nodeTable(nodes []api.NodeView, wide bool) error {
	header := []string{"NODE", "STATE", "CPUS", "MEMORY", "GPUS", "REPLICAS", "DISK FREE", "ENGINES"}
	if wide {
		header = append(header, "VERSION", "CPU", "MODEL DIR")
	}
	var rows [][]string
	for _, n := range nodes {
		free, dir := "-", "-"
		if n.Disk != nil {
			free, dir = size(n.Disk.AvailableBytes), clean(n.Disk.ModelDir)
		}
		row := []string{
			clean(n.NodeID), nodeState(n), fmt.Sprint(n.CPUs), size(n.MemoryTotalMB << 20), fmt.Sprint(len(n.GPUs)), fmt.Sprint(len(n.Replicas)), free,
			installed(n.Engines),
		}
		if wide {
			row = append(row, clean(n.Version), clean(n.CPUModel), dir)
		}
		rows = append(rows, row)
	}
	return c.printTable(header, rows)
}

func installed(engines []api.NodeEngine) string {
	var out []string
	for _, e := range engines {
		if e.Missing == "" {
			out = append(out, e.Name)
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return clean(strings.Join(out, ","))
}

func (c *command) demoModelCommand() *cobra.Command {
	var o demomodel.Options
	cmd := &cobra.Command{
		Use: "demo-model DIR --reply TEXT", Short: "Write a tiny demo model that answers every prompt with TEXT",
		Long: "Write DIR/NAME.gguf, a model file of about 100 kB for trying Nebula out and for tests. It is a true llama model whose weights are\n" +
			"set by construction: it answers every prompt with exactly TEXT. It has learned nothing.",
		Args: exactly(1, "the folder to write to"),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := writeDemoModel(args[0], o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.env.Stdout, path)
			return err
		},
	}
	cmd.Flags().StringVar(&o.Reply, "reply", "Hello! I am a demo model, and this is the only thing I can say.", "what it answers")
	cmd.Flags().StringVar(&o.Name, "name", "demo", "file name, without .gguf")
	return cmd
}

func (c *command) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Args: exactly(0, "no argument"),
		RunE: func(*cobra.Command, []string) error {
			v := ownVersion()
			return c.print(v, func(bool) error {
				_, err := fmt.Fprintf(c.env.Stdout, "nebula %s (%s, %s)\n", v.Version, v.GoVersion, v.Platform)
				return err
			})
		},
	}
	c.addOutput(cmd)
	return cmd
}

func ownVersion() api.ServerVersion {
	return api.ServerVersion{Version: version, GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
}
