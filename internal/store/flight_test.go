package store

import "testing"

// A transaction has landed only where all its writes are, alone together, at one revision.
func TestFlights_see(t *testing.T) {
	put := func(key, value string, lease, rev int64) Event {
		return Event{KeyValue: KeyValue{Key: key, Value: []byte(value), Lease: lease, ModRev: rev}}
	}
	gone := func(key string, rev int64) Event {
		return Event{KeyValue: KeyValue{Key: key, ModRev: rev}, Deleted: true}
	}
	ops := []Op{{Key: "/a", Value: []byte("1"), Lease: 7}, {Key: "/b", Delete: true}}
	for name, c := range map[string]struct {
		events []Event
		want   int64
	}{
		"landed":            {[]Event{put("/a", "1", 7, 5), gone("/b", 5)}, 5},
		"between others":    {[]Event{put("/a", "0", 7, 4), put("/a", "1", 7, 5), gone("/b", 5), put("/a", "2", 7, 6)}, 5},
		"nothing":           {nil, 0},
		"half":              {[]Event{put("/a", "1", 7, 5)}, 0},
		"two transactions":  {[]Event{put("/a", "1", 7, 5), gone("/b", 6)}, 0},
		"another value":     {[]Event{put("/a", "2", 7, 5), gone("/b", 5)}, 0},
		"another lease":     {[]Event{put("/a", "1", 8, 5), gone("/b", 5)}, 0},
		"another key":       {[]Event{put("/a", "1", 7, 5), gone("/c", 5)}, 0},
		"a put, no removal": {[]Event{put("/a", "1", 7, 5), put("/b", "", 0, 5)}, 0},
		"a removal, no put": {[]Event{gone("/a", 5), gone("/b", 5)}, 0},
	} {
		var f flights
		f.see(c.events)
		one, two := f.enter(ops), f.enter([]Op{{Key: "/a", Delete: true}, {Key: "/x", Delete: true}})
		f.see(c.events)
		if rev, blind := f.outcome(one); rev != c.want || blind {
			t.Errorf("%s: landed at %d, want %d", name, rev, c.want)
		}
		if rev, _ := f.outcome(two); rev != 0 {
			t.Errorf("%s: another flight landed at %d", name, rev)
		}
		f.leave(one)
		f.leave(two)
		if len(f.of) != 0 {
			t.Errorf("%s: flights left over: %v", name, f.of)
		}
	}
}
