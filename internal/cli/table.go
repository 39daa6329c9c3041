package cli

import (
	"os"
	"slices"
	"strings"
	"unicode"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"
)

// columnGap is between two columns of a table; narrowest is how far a column is cut for a narrow terminal.
const (
	columnGap = 2
	narrowest = 8
)

// printTable writes rows under a header; colours are dropped where the writer is no terminal, and long cells are cut where it is a narrow one.
func (c *command) printTable(header []string, rows [][]string) error {
	return c.printStyled(tableText(header, rows, c.width()))
}

// width is that of the terminal; 0 where there is none, and nothing has to fit.
func (c *command) width() int {
	f, ok := c.env.Stdout.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return w
}

// tableText lays a table out. Every cell is one line.
func tableText(header []string, rows [][]string, width int) string {
	widths := columnWidths(header, rows)
	fit(widths, width)
	var out strings.Builder
	bold := make([]string, len(header))
	for i, h := range header {
		bold[i] = lipgloss.NewStyle().Bold(true).Render(h)
	}
	for _, row := range slices.Concat([][]string{bold}, rows) {
		writeRow(&out, row, widths)
	}
	return out.String()
}

// plainText lays out a table that has no colours and has to fit nowhere.
func plainText(header []string, rows [][]string) string {
	widths := columnWidths(header, rows)
	line := 1
	for _, w := range widths {
		line += w + columnGap
	}
	var out strings.Builder
	out.Grow(line * (len(rows) + 1))
	writeWhole(&out, header, widths)
	for _, row := range rows {
		writeWhole(&out, row, widths)
	}
	return out.String()
}

// columnWidths makes every cell one line, and measures.
func columnWidths(header []string, rows [][]string) []int {
	widths := make([]int, len(header))
	for i, h := range header {
		widths[i] = cellWidth(h)
	}
	for _, row := range rows {
		for i := range row {
			row[i] = oneLine(row[i])
			widths[i] = max(widths[i], cellWidth(row[i]))
		}
	}
	return widths
}

// writeRow writes a row; what is wider than its column is cut.
func writeRow(out *strings.Builder, row []string, widths []int) {
	for i, cell := range row {
		if cellWidth(cell) > widths[i] {
			row[i] = ansi.Truncate(cell, widths[i], "…")
		}
	}
	writeWhole(out, row, widths)
}

// writeWhole writes a row whose cells may be wider than their columns, with nothing behind the last one.
func writeWhole(out *strings.Builder, row []string, widths []int) {
	gap := 0
	for i, cell := range row {
		w := cellWidth(cell)
		if w == 0 {
			gap += widths[i] + columnGap
			continue
		}
		for ; gap > len(blanks); gap -= len(blanks) {
			out.WriteString(blanks)
		}
		out.WriteString(blanks[:gap])
		out.WriteString(cell)
		gap = max(widths[i]-w, 0) + columnGap
	}
	out.WriteByte('\n')
}

const blanks = "                                                                " // 64

// fit narrows the widest columns, but never the first, until a row fits into width; 0 = any.
func fit(widths []int, width int) {
	for width > 0 {
		total, widest := -columnGap, -1
		for i, w := range widths {
			total += w + columnGap
			if i > 0 && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if total <= width || widest < 0 || widths[widest] <= narrowest {
			return
		}
		widths[widest] = max(narrowest, widths[widest]-(total-width))
	}
}

// printable tells whether a text is of ASCII's printing characters alone.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// cellWidth is how many columns of a terminal a text takes, without its colours.
func cellWidth(s string) int {
	if printable(s) {
		return len(s)
	}
	return ansi.StringWidth(s)
}

// oneLine makes a cell of a text.
func oneLine(s string) string {
	if strings.ContainsAny(s, "\n\t") {
		return strings.Join(strings.Fields(s), " ")
	}
	return s
}

// clean makes text of others safe for a terminal: no control characters, and none that turn the direction of writing or cannot be seen.
// Joiners stay, which some scripts need.
func clean(s string) string {
	if printable(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		const joiner, nonJoiner = 0x200d, 0x200c
		switch {
		case r == '\n' || r == '\t' || r == joiner || r == nonJoiner:
			return r
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == 0x2028 || r == 0x2029:
			return -1
		}
		return r
	}, s)
}
