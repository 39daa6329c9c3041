package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError says what is wrong with a flag, and which one may have been meant.
func flagError(cmd *cobra.Command, err error) error {
	if wrong, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		if _, ours := wrong.GetFlag().Value.(*output); ours { // its error says everything
			err = wrong.Unwrap()
		}
	}
	meant := ""
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && unknown.GetSpecifiedShortnames() == "" {
		var flags []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				flags = append(flags, "--"+f.Name)
			}
		})
		meant = didYouMean("--"+unknown.GetSpecifiedName(), flags)
	}
	return usagef("%w%s\nSee: %s --help", err, meant, cmd.CommandPath())
}

// didYouMean returns a question to put behind an error, or nothing when no known word is near.
func didYouMean(typed string, known []string) string {
	if near := nearest(typed, known, 1); len(near) > 0 {
		return fmt.Sprintf("; did you mean %s?", near[0])
	}
	return ""
}

// nearest returns at most n of the known words that somebody may have meant, the nearest first: a few letters other, or one the beginning of
// the other.
func nearest(typed string, known []string, n int) []string {
	type candidate struct {
		word string
		far  int
	}
	var near []candidate
	low := strings.ToLower(typed)
	for _, word := range known {
		w := strings.ToLower(word)
		far := distance(low, w)
		switch {
		case low == "" || w == "" || word == typed:
			continue
		case strings.HasPrefix(w, low) || strings.HasPrefix(low, w):
			far = min(far, 2)
		}
		if far <= 1+len(low)/4 && far < len(w) {
			near = append(near, candidate{word, far})
		}
	}
	slices.SortStableFunc(near, func(a, b candidate) int { return a.far - b.far })
	var out []string
	for _, c := range near[:min(n, len(near))] {
		out = append(out, c.word)
	}
	return out
}

// distance is how many letters must be put in, left out, replaced or swapped with their neighbour to make a into b (optimal string
// alignment).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	if len(x) > 64 || len(y) > 64 {
		return 64 // nobody types that much by mistake
	}
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			same := 1
			if x[i-1] == y[j-1] {
				same = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+same)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}
