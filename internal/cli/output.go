package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"sigs.k8s.io/yaml"

	"github.com/nebula-serve/nebula/api"
)

// formats are the ways to print an answer.
var formats = []string{"table", "wide", "json", "yaml"}

func (c *command) addOutput(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&c.output, "output", "o", "table", "how to print: "+strings.Join(formats, ", "))
	// The command is ours and the flag was just made: it cannot fail.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// print writes v as JSON or YAML, or calls human for a table.
func (c *command) print(v any, human func(wide bool) error) error {
	switch c.output {
	case "", "table", "wide":
		return human(c.output == "wide")
	case "json":
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return fmt.Errorf("print as JSON: %w", err)
		}
		_, err = fmt.Fprintf(c.env.Stdout, "%s\n", b)
		return err
	case "yaml":
		b, err := yaml.Marshal(v)
		if err != nil {
			return fmt.Errorf("print as YAML: %w", err)
		}
		_, err = c.env.Stdout.Write(b)
		return err
	}
	return usagef("output format %q is unknown: use one of %s", c.output, strings.Join(formats, ", "))
}

// checkOutput refuses a wrong format before anything is done.
func (c *command) checkOutput() error {
	if c.output != "" && !slices.Contains(formats, c.output) {
		return c.print(nil, nil)
	}
	return nil
}

// printTable writes rows under a header; styles are dropped where the writer is no terminal.
func (c *command) printTable(header []string, rows [][]string) error {
	head := lipgloss.NewStyle().Bold(true).PaddingRight(2)
	t := table.New().Headers(header...).
		BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).BorderColumn(false).BorderHeader(false).
		StyleFunc(func(row, _ int) lipgloss.Style {
			if row == table.HeaderRow {
				return head
			}
			return lipgloss.NewStyle().PaddingRight(2)
		})
	for _, r := range rows {
		t.Row(r...)
	}
	var out strings.Builder
	for line := range strings.Lines(t.String() + "\n") {
		out.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return c.printStyled(out.String())
}

// printStyled writes s, without its colours where the writer is no terminal.
func (c *command) printStyled(s string) error {
	_, err := lipgloss.Fprint(c.env.Stdout, s)
	return err
}

// terminal tells whether w is one.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// stateColours are ANSI colours, so that they follow the terminal's own theme.
var stateColours = map[api.ModelState]string{
	api.StateRunning: "2", api.StateDegraded: "3", api.StateFailed: "1", api.StateStarting: "6", api.StateDownloading: "6",
	api.StateStopping: "3", api.StateStopped: "8",
}

func colouredState(s api.ModelState) string {
	return lipgloss.NewStyle().Foreground(lipgloss.Color(stateColours[s])).Render(string(s))
}

// age is the time since ms in the largest unit that says enough.
func age(ms int64, now time.Time) string {
	if ms <= 0 {
		return "-"
	}
	d := max(now.Sub(time.UnixMilli(ms)), 0)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// size prints bytes in binary units.
func size(b uint64) string {
	const unit = 1024
	if b < unit {
		return fmt.Sprintf("%d B", b)
	}
	div, exp := uint64(unit), 0
	for n := b / unit; n >= unit; n /= unit {
		div *= unit
		exp++
	}
	return fmt.Sprintf("%.1f %ciB", float64(b)/float64(div), "KMGTPE"[exp])
}

// clean makes text of others safe for a terminal: no control characters.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}
