package hub

import (
	"errors"
	"strconv"
	"strings"
)

// parseNext returns the address with rel="next" of a Link header (RFC 8288), or "".
func parseNext(values []string) string {
	for _, v := range values {
		for v != "" {
			_, rest, ok := strings.Cut(v, "<")
			if !ok {
				break
			}
			target, params, ok := strings.Cut(rest, ">")
			if !ok {
				break
			}
			params, v, _ = strings.Cut(params, "<")
			for p := range strings.SplitSeq(params, ";") {
				key, value, _ := strings.Cut(strings.Trim(p, ", \t"), "=")
				if strings.EqualFold(strings.TrimSpace(key), "rel") && strings.EqualFold(strings.Trim(value, `" `), "next") {
					return target
				}
			}
			if v != "" {
				v = "<" + v
			}
		}
	}
	return ""
}

// parseContentRange reads "bytes a-b/total".
func parseContentRange(v string) (from, to, total int64, ok bool) {
	spec, found := strings.CutPrefix(v, "bytes ")
	span, whole, found2 := strings.Cut(spec, "/")
	a, b, found3 := strings.Cut(span, "-")
	if !found || !found2 || !found3 {
		return 0, 0, 0, false
	}
	var errs [3]error
	from, errs[0] = strconv.ParseInt(a, 10, 64)
	to, errs[1] = strconv.ParseInt(b, 10, 64)
	total, errs[2] = strconv.ParseInt(whole, 10, 64)
	if errors.Join(errs[:]...) != nil || from < 0 || to < from || total <= to {
		return 0, 0, 0, false
	}
	return from, to + 1, total, true
}
