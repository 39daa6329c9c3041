package httpapi

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nebula-serve/nebula/api"
)

// sorting is one of the orders in which a list can be asked for.
type sorting[T any] struct {
	field string
	// key is what is compared, byte by byte; objects with the same one are in the order of their ids. Nil: the ids alone, which is the order of
	// who asks for none.
	key func(*T) string
}

// sortFields are the names of the orders of a list, for its row.
func sortFields[T any](all []sorting[T]) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = s.field
	}
	return out
}

// bothWays are the values that ?sort takes.
func bothWays(fields []string) []string {
	out := make([]string, 0, 2*len(fields))
	for _, f := range fields {
		out = append(out, f, "-"+f)
	}
	return out
}

// order is the order of an answer.
type order[T any] struct {
	name string // as in ?sort; empty = by the ids, upwards
	down bool
	key  func(*T) string // nil = none
	id   func(*T) string
}

// orderOf reads ?sort, where a list has orders.
func orderOf[T any](r *http.Request, id func(*T) string, all []sorting[T]) (order[T], error) {
	o := order[T]{id: id}
	asked := r.URL.Query().Get("sort")
	if len(all) == 0 || asked == "" || asked == all[0].field {
		return o, nil
	}
	field, down := strings.CutPrefix(asked, "-")
	for _, s := range all {
		if s.field == field {
			o.name, o.down, o.key = asked, down, s.key
			return o, nil
		}
	}
	known := strings.Join(sortFields(all), ", ")
	return o, &api.Error{
		Code: api.CodeInvalidRequest, Message: fmt.Sprintf("this list has no order %.40q: use one of %s, with - before it for the reverse", asked, known),
		Details: []api.Field{{Field: "sort", Reason: "must be one of " + known + ", with or without - before it"}},
	}
}

// maxKey bounds what of a key counts, so that a cursor stays short; the ids decide about the rest.
const maxKey = 256

// place is where an object stands in an order.
type place struct{ key, id string }

func (o *order[T]) place(v *T) place {
	p := place{id: o.id(v)}
	if o.key != nil {
		p.key = o.key(v)
		p.key = p.key[:min(len(p.key), maxKey)]
	}
	return p
}

func (o *order[T]) compare(a, b place) int {
	switch c := strings.Compare(a.key, b.key); {
	case c != 0 && o.down:
		return -c
	case c != 0:
		return c
	case o.down && o.key == nil:
		return strings.Compare(b.id, a.id)
	}
	return strings.Compare(a.id, b.id)
}

// sort puts a list into the order. Lists mostly come in that of their ids, and then stay as they are.
func (o *order[T]) sort(items []T) {
	if o.name == "" && o.byID(items) {
		return
	}
	type placed struct {
		place
		item int
	}
	list := make([]placed, len(items))
	for i := range items {
		list[i] = placed{o.place(&items[i]), i}
	}
	slices.SortFunc(list, func(a, b placed) int { return o.compare(a.place, b.place) })
	was := slices.Clone(items)
	for i := range list {
		items[i] = was[list[i].item]
	}
}

// byID tells whether a list is in the order of its ids.
func (o *order[T]) byID(items []T) bool {
	for i := 1; i < len(items); i++ {
		if o.id(&items[i-1]) > o.id(&items[i]) {
			return false
		}
	}
	return true
}

// list names the list of a request in its order, for its cursors.
func (o *order[T]) list(r *http.Request) string {
	if o.name == "" {
		return r.URL.Path
	}
	return r.URL.Path + "?sort=" + o.name
}

// start returns the index of the first object of the page that a request asks for, in a list in this order.
func (o *order[T]) start(r *http.Request, items []T) (int, error) {
	cursor := r.URL.Query().Get("cursor")
	if cursor == "" {
		return 0, nil
	}
	text, err := afterOf(o.list(r), cursor)
	if err != nil {
		return 0, err
	}
	after := place{id: text}
	if o.name != "" {
		n, used := binary.Uvarint([]byte(text))
		if used <= 0 || n > uint64(len(text)-used) {
			return 0, errCursor()
		}
		after = place{key: text[used : used+int(n)], id: text[used+int(n):]}
	}
	return sort.Search(len(items), func(i int) bool { return o.compare(o.place(&items[i]), after) > 0 }), nil
}

// cursor is that of the page after an object.
func (o *order[T]) cursor(r *http.Request, last *T) string {
	p := o.place(last)
	if o.name == "" {
		return cursorAfter(r.URL.Path, p.id)
	}
	text := string(binary.AppendUvarint(nil, uint64(len(p.key)))) + p.key + p.id
	return cursorAfter(o.list(r), text)
}

// upward is a number as a key: what is not negative sorts as it counts.
func upward[N ~int64 | ~uint64 | ~uint32 | ~int](n N) string {
	const zeros = "00000000000000000000"
	s := strconv.FormatUint(uint64(max(n, 0)), 10)
	return zeros[:len(zeros)-len(s)] + s
}

// folded is a text as a key: people do not look for capitals first.
func folded(s string) string { return strings.ToLower(s) }

// maxSearch bounds what is searched for, in characters.
const maxSearch = 200

// searchOf reads ?q, in lower case.
func searchOf(r *http.Request) (string, error) {
	q := r.URL.Query().Get("q")
	if utf8.RuneCountInString(q) > maxSearch {
		reason := "must have at most " + strconv.Itoa(maxSearch) + " characters"
		return "", &api.Error{Code: api.CodeInvalidRequest, Message: "q " + reason, Details: []api.Field{{Field: "q", Reason: reason}}}
	}
	return strings.ToLower(q), nil
}

// searchParam is the row's word for ?q.
func searchParam(in string) Param {
	return Param{Name: "q", Type: "string", Summary: "Only those with this text, in capitals or not, in " + in + "; at most " + strconv.Itoa(maxSearch) + " characters"}
}

// holds tells whether one of some texts has what searchOf returned.
func holds(q string, texts ...string) bool {
	return q == "" || slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(strings.ToLower(t), q) })
}

// filtered keeps what passes.
func filtered[T any](items []T, keep func(*T) bool) []T {
	return slices.DeleteFunc(items, func(v T) bool { return !keep(&v) })
}
