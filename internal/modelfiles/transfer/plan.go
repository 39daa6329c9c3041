package transfer

import "time"

// Sizes of what one request asks for.
const (
	oneGet     = 8 << 20  // a file up to this size is fetched by one request
	minSegment = 8 << 20  // while much is left
	maxSegment = 64 << 20 // so that conns segments in flight stay in the page cache until they are hashed
	minTake    = 1 << 20  // near the end
	minSplit   = 2 << 20  // less than this is not worth another request
)

// segment is how much one request asks for while much is left: a power of two, an eighth of what each connection has to
// fetch.
func segment(size int64, conns int) int64 {
	s := int64(minSegment)
	for s < maxSegment && s < size/int64(8*max(conns, 1)) {
		s *= 2
	}
	return s
}

// take chooses what the next request asks for: the lowest bytes that are neither written nor being fetched. Near the end
// requests get smaller, so that all connections end together and none of them has to be cut short. ok is false when
// nothing is free.
func take(written spans, running []span, size int64, conns int) (s span, ok bool) {
	busy := append(spans{}, written...)
	for _, r := range running {
		busy = busy.add(r)
	}
	free := busy.gaps(size)
	if len(free) == 0 {
		return span{}, false
	}
	s = free[0]
	if size <= oneGet {
		return s, true
	}
	most := segment(size, conns)
	if conns > 1 {
		most = min(most, max(free.total()/int64(conns), minTake))
	}
	if s.size() > most {
		// Ends fall on whole blocks, so that the next one begins there.
		s.To = max((s.From+most)/minTake*minTake, s.From+minTake)
	}
	return s, true
}

// pace is how a running request does.
type pace struct {
	left int64   // bytes
	rate float64 // bytes per second
}

// Splitting costs the request that is cut short its connection, so it has to save this much.
const splitSaves = 500 * time.Millisecond

// split chooses the running request whose second half an idle connection should take, or -1: the one that ends last, if
// that saves time.
func split(running []pace) int {
	best, slowest := -1, 0.0
	for i, p := range running {
		if p.left < minSplit {
			continue
		}
		if ends := float64(p.left) / max(p.rate, 1); ends/2 > splitSaves.Seconds() && ends > slowest {
			best, slowest = i, ends
		}
	}
	return best
}

// slow tells which of the running requests are far slower than the others: below a tenth of the median.
func slow(running []pace) []bool {
	out := make([]bool, len(running))
	if len(running) < 3 {
		return out
	}
	limit := median(running) / 10
	for i, p := range running {
		out[i] = p.rate < limit
	}
	return out
}
