package transfer

import "slices"

// span is the bytes [From, To) of a file.
type span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

func (s span) size() int64 { return s.To - s.From }

// spans are disjoint, in order, and do not touch.
type spans []span

// add returns s with n in it.
func (s spans) add(n span) spans {
	if n.size() <= 0 {
		return s
	}
	i, _ := slices.BinarySearchFunc(s, n.From, func(x span, from int64) int {
		if x.To < from {
			return -1
		}
		return 1
	})
	j := i
	for ; j < len(s) && s[j].From <= n.To; j++ {
		n.From, n.To = min(n.From, s[j].From), max(n.To, s[j].To)
	}
	return slices.Replace(s, i, j, n)
}

// without returns s without the bytes of cut.
func (s spans) without(cut span) spans {
	var out spans
	for _, x := range s {
		out = out.add(span{x.From, min(x.To, cut.From)})
		out = out.add(span{max(x.From, cut.To), x.To})
	}
	return out
}

// gaps returns what s lacks of [0, size).
func (s spans) gaps(size int64) spans {
	var out spans
	at := int64(0)
	for _, x := range s {
		out = out.add(span{at, min(x.From, size)})
		at = x.To
	}
	return out.add(span{at, size})
}

func (s spans) total() int64 {
	n := int64(0)
	for _, x := range s {
		n += x.size()
	}
	return n
}

// prefix is where the bytes that begin at 0 end.
func (s spans) prefix() int64 {
	if len(s) == 0 || s[0].From != 0 {
		return 0
	}
	return s[0].To
}

// sound tells whether s keeps its promises and lies inside [0, size): it may come from a file.
func (s spans) sound(size int64) bool {
	at := int64(-1)
	for _, x := range s {
		if x.From <= at || x.From < 0 || x.To <= x.From || x.To > size {
			return false
		}
		at = x.To
	}
	return true
}
