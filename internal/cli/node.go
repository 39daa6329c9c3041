package cli

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/demomodel"
)

func (c *command) nodeCommand() *cobra.Command {
	cmd := group("node", "Look after the machines that run engines", c.nodeList(), c.nodeGet(), c.nodeCordon(), c.nodeUncordon(), c.nodeDrain(), c.nodeDelete())
	cmd.Aliases = []string{"nodes"}
	return cmd
}

func (c *command) nodeList() *cobra.Command {
	disk := func(n api.NodeView) api.NodeDiskStatus {
		if n.Disk == nil {
			return api.NodeDiskStatus{}
		}
		return *n.Disk
	}
	return listCommand(c, listing[api.NodeView]{
		Short: "List nodes", Empty: "No nodes. Let a machine join with: nebula token create --for node",
		Example: "  nebula node list -o wide\n  nebula node list --watch",
		Key:     func(n api.NodeView) string { return n.NodeID },
		Fetch:   func(ctx context.Context, cl *client.Client) ([]api.NodeView, error) { return cl.Nodes(ctx) },
		Columns: []column[api.NodeView]{
			{Title: "NODE", Text: func(n api.NodeView, _ time.Time) string { return n.NodeID }},
			{Title: "STATE", Text: func(n api.NodeView, _ time.Time) string { return nodeState(n) }},
			{Title: "CPUS", Text: func(n api.NodeView, _ time.Time) string { return fmt.Sprint(n.CPUs) }},
			{Title: "MEMORY", Text: func(n api.NodeView, _ time.Time) string { return size(n.MemoryTotalMB << 20) }},
			{Title: "GPUS", Text: func(n api.NodeView, _ time.Time) string { return fmt.Sprint(len(n.GPUs)) }},
			{Title: "REPLICAS", Text: func(n api.NodeView, _ time.Time) string { return fmt.Sprint(len(n.Replicas)) }},
			{Title: "DISK FREE", Text: func(n api.NodeView, _ time.Time) string { return sizeOrNone(disk(n).AvailableBytes, n.Disk != nil) }},
			{Title: "ENGINES", Text: func(n api.NodeView, _ time.Time) string { return installed(n.Engines) }},
			{Title: "VERSION", Wide: true, Text: func(n api.NodeView, _ time.Time) string { return n.Version }},
			{Title: "CPU", Wide: true, Text: func(n api.NodeView, _ time.Time) string { return n.CPUModel }},
			{Title: "GPU", Wide: true, Text: func(n api.NodeView, _ time.Time) string { return gpuNames(n.GPUs) }},
			{Title: "MODEL DIR", Wide: true, Text: func(n api.NodeView, _ time.Time) string { return disk(n).ModelDir }},
		},
	})
}

// sizeOrNone is nothing where the size is not known.
func sizeOrNone(b uint64, known bool) string {
	if !known {
		return ""
	}
	return size(b)
}

// gpuNames counts accelerators of the same name.
func gpuNames(gpus []api.GPUStatus) string {
	var names []string
	count := map[string]int{}
	for _, g := range gpus {
		name := cmp.Or(g.Name, "unnamed")
		if count[name]++; count[name] == 1 {
			names = append(names, name)
		}
	}
	for i, name := range names {
		names[i] = fmt.Sprintf("%d x %s", count[name], name)
	}
	return strings.Join(names, ", ")
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
		Example: "  nebula demo-model . --reply 'Hello there.' --name hello",
		Args:    exactly(1, "the folder to write to"),
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
	remote := false
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version, of this program or of the server", Args: exactly(0, "no argument"), Example: "  nebula version --remote",
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := ownVersion()
			if remote {
				cl, err := c.client()
				if err != nil {
					return err
				}
				if v, err = cl.Version(cmd.Context()); err != nil {
					return err
				}
			}
			return c.print(v, func(bool) error {
				_, err := fmt.Fprintf(c.env.Stdout, "nebula %s (%s, %s)\n", clean(v.Version), clean(v.GoVersion), clean(v.Platform))
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&remote, "remote", false, "the server's version instead of this program's")
	c.addOutput(cmd)
	return cmd
}

func ownVersion() api.ServerVersion {
	return api.ServerVersion{Version: version, GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
}
