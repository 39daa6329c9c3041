package httpapi

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"net/http"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// Limits of a list's page.
const (
	maxPage   = 1000
	maxCursor = 16 << 10 // the cache has ids that are paths
)

// page is the part of a list that a request asks for.
type page struct {
	after string // what comes after the object of this id; empty = from the start
	limit int    // at most so many; 0 = all
}

// writePage answers with the part of a list that the request asks for, and says where the next one begins. The list is put into the order that is
// asked for, which is that of the ids that idOf returns unless the list has others in all; each id is there once, and a list of another order makes
// an id that sorts like it. The items are the caller's own, and whatever the route's filters have left. Without ?limit and ?cursor the answer is the
// whole list: a bare array, never null.
//
// An object that is made or deleted between two pages neither hides nor repeats another one.
func writePage[T any](w http.ResponseWriter, r *http.Request, items []T, idOf func(*T) string, all ...sorting[T]) error {
	o, err := orderOf(r, idOf, all)
	if err != nil {
		return err
	}
	limit, err := limitOf(r)
	if err != nil {
		return err
	}
	o.sort(items)
	start, err := o.start(r, items)
	if err != nil {
		return err
	}
	tellTotal(w, len(items))
	items = items[start:]
	if limit > 0 && len(items) > limit {
		items = items[:limit]
		linkNext(w, r, o.cursor(r, &items[limit-1]))
	}
	if items == nil {
		items = []T{}
	}
	writeJSON(w, http.StatusOK, items)
	return nil
}

// tellTotal says how many objects there are on all pages.
func tellTotal(w http.ResponseWriter, n int) { w.Header().Set("Nebula-Total", strconv.Itoa(n)) }

func limitOf(r *http.Request) (int, error) { return queryInt(r, "limit", 0, 1, maxPage) }

// pageOf reads ?limit and ?cursor.
func pageOf(r *http.Request) (p page, err error) {
	if p.limit, err = limitOf(r); err != nil {
		return p, err
	}
	if cursor := r.URL.Query().Get("cursor"); cursor != "" {
		p.after, err = afterOf(r.URL.Path, cursor)
	}
	return p, err
}

// linkNext says that more follows, and with which cursor.
func linkNext(w http.ResponseWriter, r *http.Request, cursor string) {
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
	return "", errCursor()
}

func errCursor() error {
	return &api.Error{
		Code: api.CodeInvalidRequest, Message: "this cursor is not one of this list in this order: take the one in Nebula-Next-Cursor of the page before, or leave it out to start anew",
		Details: []api.Field{{Field: "cursor", Reason: "is not one of this list"}},
	}
}

func cursorSum(path, id string) []byte {
	sum := crc32.ChecksumIEEE([]byte(strconv.Quote(path) + id))
	return binary.BigEndian.AppendUint32(nil, sum)
}
