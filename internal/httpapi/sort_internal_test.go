package httpapi

import (
	first "cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// thing is an object of a list with orders.
type thing struct {
	ID   string
	Name string
	Size uint64
}

func thingID(v *thing) string { return v.ID }

func thingOrders() []sorting[thing] {
	return []sorting[thing]{
		{field: "id"},
		{"name", func(v *thing) string { return v.Name }},
		{"size", func(v *thing) string { return upward(v.Size) }},
	}
}

// less is the order in words, without keys and cursors.
func less(asked string, a, b *thing) int {
	field, down := strings.CutPrefix(asked, "-")
	c := 0
	switch field {
	case "name":
		c = strings.Compare(a.Name, b.Name)
	case "size":
		c = int(a.Size) - int(b.Size)
	case "id":
		c = strings.Compare(a.ID, b.ID)
	}
	if down {
		c = -c
	}
	if c == 0 {
		c = strings.Compare(a.ID, b.ID)
	}
	return c
}

func askPage(t *rapid.T, things map[string]thing, q url.Values) ([]thing, http.Header, error) {
	r := httptest.NewRequest(http.MethodGet, "/things?"+q.Encode(), nil)
	w := httptest.NewRecorder()
	if err := writePage(w, r, slices.Collect(maps.Values(things)), thingID, thingOrders()...); err != nil {
		return nil, nil, err
	}
	var out []thing
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	if got := w.Header().Get("Nebula-Total"); got != strconv.Itoa(len(things)) {
		t.Fatalf("Nebula-Total is %s with %d things", got, len(things))
	}
	return out, w.Header(), nil
}

// TestSort_pagesAreTheList: in any order, for any list and pages of any length, the pages one after the other are the whole list in that order; what comes
// and goes between two of them neither hides nor repeats another; and a cursor of one order is refused in another.
func TestSort_pagesAreTheList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		things := map[string]thing{}
		add := func(id string) {
			things[id] = thing{
				id, rapid.SampledFrom([]string{"", "a", "ab", "a\x00", "é", "B", strings.Repeat("x", 300)}).Draw(t, "name"),
				rapid.SampledFrom([]uint64{0, 1, 9, 10, 1 << 40}).Draw(t, "size"),
			}
		}
		for n := range rapid.IntRange(0, 12).Draw(t, "things") {
			add(fmt.Sprintf("t%d%s", n*5%11, strings.Repeat("-", n%3)))
		}
		asked := rapid.SampledFrom([]string{"", "id", "-id", "name", "-name", "size", "-size"}).Draw(t, "order")
		cmpOf := func(a, b thing) int { return less(first.Or(asked, "id"), &a, &b) }
		stayed := maps.Clone(things)
		var paged []thing
		q := url.Values{}
		if asked != "" {
			q.Set("sort", asked)
		}
		for changed := false; ; {
			q.Set("limit", fmt.Sprint(rapid.IntRange(1, 5).Draw(t, "limit")))
			part, h, err := askPage(t, things, q)
			if err != nil {
				t.Fatal(err)
			}
			paged = append(paged, part...)
			next := h.Get("Nebula-Next-Cursor")
			if next == "" {
				want := slices.SortedFunc(maps.Values(things), cmpOf)
				if diff := cmp.Diff(want, paged); diff != "" && !changed {
					t.Fatalf("the pages in the order %q are not the list (-want +got):\n%s", asked, diff)
				}
				break
			}
			other := rapid.SampledFrom([]string{"", "-id", "name", "-name", "size", "-size"}).Draw(t, "other")
			if other != asked && (other != "" || asked != "id") {
				wrong := url.Values{"sort": {other}, "cursor": {next}}
				if _, _, err := askPage(t, things, wrong); err == nil || !strings.Contains(err.Error(), "cursor") {
					t.Fatalf("a cursor of the order %q is taken in %q: %v", asked, other, err)
				}
			}
			q.Set("cursor", next)
			if rapid.IntRange(0, 3).Draw(t, "change") == 0 {
				changed = true
				if len(things) > 1 {
					gone := rapid.SampledFrom(slices.Sorted(maps.Keys(things))).Draw(t, "gone")
					delete(things, gone)
					delete(stayed, gone)
				}
				add(fmt.Sprintf("n%d", rapid.IntRange(0, 99).Draw(t, "new")))
			}
		}
		seen := map[string]int{}
		for _, v := range paged {
			seen[v.ID]++
		}
		for id := range stayed {
			if seen[id] != 1 {
				t.Fatalf("%s was there all the time, and is on the pages %d times", id, seen[id])
			}
		}
		if !slices.IsSortedFunc(paged, cmpOf) {
			t.Fatalf("the pages in the order %q are not in order: %v", asked, paged)
		}
	})
}
