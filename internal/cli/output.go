package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"github.com/nebula-serve/nebula/api"
)

// printStyled writes s, without its colours where the writer is no terminal or NO_COLOR is set.
func (c *command) printStyled(s string) error {
	if c.plain() {
		_, err := io.WriteString(c.env.Stdout, ansi.Strip(s))
		return err
	}
	_, err := lipgloss.Fprint(c.env.Stdout, s)
	return err
}

// plain tells whether colours would be taken out again: where it is known before, a long text need not be looked through for them.
func (c *command) plain() bool {
	return c.env.Getenv("NO_COLOR") != "" || colorprofile.Detect(c.env.Stdout, os.Environ()) == colorprofile.NoTTY
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
