package httpapi

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// Limits of a list's page.
const (
	maxPage   = 1000
	maxCursor = 1024
)

// page is the part of a list that a request asks for.
type page struct {
	after string // what comes after the object of this id; empty = from the start
	limit int    // at most so many; 0 = all
}

// writePage answers with the part of a list that the request asks for, and says where the next one begins. The list is in ascending order of the
// ids that idOf returns (and is put into it, if it is not), each of which is there once; a list of another order makes an id that sorts like it.
// The items are the caller's own, and whatever the route's filters have left. Without ?limit and ?cursor the answer is the whole list: a bare
// array, never null.
//
// An object that is made or deleted between two pages neither hides nor repeats another one.
func writePage[T any](w http.ResponseWriter, r *http.Request, items []T, idOf func(*T) string) error {
	p, err := pageOf(r)
	if err != nil {
		return err
	}
	order := func(a, b T) int { return strings.Compare(idOf(&a), idOf(&b)) }
	if !slices.IsSortedFunc(items, order) {
		slices.SortStableFunc(items, order)
	}
	if p.after != "" {
		items = items[sort.Search(len(items), func(i int) bool { return idOf(&items[i]) > p.after }):]
	}
	if p.limit > 0 && len(items) > p.limit {
		items = items[:p.limit]
		linkNext(w, r, idOf(&items[p.limit-1]))
	}
	if items == nil {
		items = []T{}
	}
	writeJSON(w, http.StatusOK, items)
	return nil
}

// pageOf reads ?limit and ?cursor.
func pageOf(r *http.Request) (p page, err error) {
	if p.limit, err = queryInt(r, "limit", 0, 1, maxPage); err != nil {
		return p, err
	}
	if cursor := r.URL.Query().Get("cursor"); cursor != "" {
		p.after, err = afterOf(r.URL.Path, cursor)
	}
	return p, err
}

// linkNext says that more follows after the object with the id last.
func linkNext(w http.ResponseWriter, r *http.Request, last string) {
	cursor := cursorAfter(r.URL.Path, last)
	q := r.URL.Query()
	q.Set("cursor", cursor)
	at := r.URL.EscapedPath()
	if calledAs(r) != "" { // by the old gateway's path, which is the one that this caller can reach
		at = v1GatewayV2 + strings.TrimPrefix(at, "/api/v2/")
	}
	w.Header().Add("Link", "<"+at+"?"+q.Encode()+`>; rel="next"`)
	w.Header().Set("Nebula-Next-Cursor", cursor)
}

// cursorAfter makes the cursor of what follows an id in the list at path. It is good on every server and for as long as there are servers; the sum
// is no secret, it keeps people from taking cursors for something to compose, and those of one list for those of another.
func cursorAfter(path, id string) string {
	return base64.RawURLEncoding.EncodeToString(append(cursorSum(path, id), id...))
}

func afterOf(path, cursor string) (string, error) {
	if len(cursor) <= maxCursor {
		b, err := base64.RawURLEncoding.DecodeString(cursor)
		if err == nil && len(b) > 4 && string(b[:4]) == string(cursorSum(path, string(b[4:]))) {
			return string(b[4:]), nil
		}
	}
	return "", &api.Error{
		Code: api.CodeInvalidRequest, Message: "this cursor is not one of this list: take the one in Nebula-Next-Cursor of the page before, or leave it out to start anew",
		Details: []api.Field{{Field: "cursor", Reason: "is not one of this list"}},
	}
}

func cursorSum(path, id string) []byte {
	sum := crc32.ChecksumIEEE([]byte(strconv.Quote(path) + id))
	return binary.BigEndian.AppendUint32(nil, sum)
}
