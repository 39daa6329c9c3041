package audit

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// Limits of denials: whoever is refused costs the store little, however often.
const (
	denialEvery = time.Minute // one record of the same denial
	denialsMax  = 60          // records a minute in all
	denialsKept = 4096        // kinds of denials that are told apart at a time
)

// VerbDenied is the verb of a denial.
const VerbDenied = "denied"

// Denials collects what was refused until it is recorded: the first of a kind at once, further ones as a number, once a minute. It is safe for
// concurrent use, and its memory is bounded.
type Denials struct {
	mu     sync.Mutex
	kinds  map[denialKind]*denial
	ready  []api.AuditRecord // to be recorded
	since  time.Time         // begin of the minute that spent counts
	spent  int
	missed int // that are in no record, for their number
}

// denialKind is what makes two denials the same.
type denialKind struct {
	verb, source, actor, object string
	code                        api.Code
}

type denial struct {
	rec      api.AuditRecord
	at       time.Time // of the last record
	repeated int       // since then
}

// Add takes a denial; rec says who, from where, what and with which code. With a verb and a result it is something else that strangers cause, such as a
// login that failed.
func (d *Denials) Add(rec api.AuditRecord, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rec.TimeMS = now.UnixMilli()
	if rec.Verb == "" {
		rec.Verb, rec.Result = VerbDenied, api.AuditDenied
	}
	kind := denialKind{rec.Verb, network(rec.Source), rec.Actor.Kind + "/" + rec.Actor.ID, rec.Object, rec.Code}
	if known := d.kinds[kind]; known != nil {
		known.repeated++
		known.rec = rec
		return
	}
	if len(d.kinds) >= denialsKept || !d.spend(now) {
		d.missed++
		return
	}
	if d.kinds == nil {
		d.kinds = map[denialKind]*denial{}
	}
	d.kinds[kind] = &denial{rec: rec, at: now}
	d.ready = append(d.ready, rec)
}

// spend takes one of the records of this minute.
func (d *Denials) spend(now time.Time) bool {
	if now.Sub(d.since) >= time.Minute || now.Before(d.since) {
		d.since, d.spent = now, 0
	}
	if d.spent >= denialsMax {
		return false
	}
	d.spent++
	return true
}

// Take returns the records that are due, oldest first. What comes back with Return was not recorded.
func (d *Denials) Take(now time.Time) []api.AuditRecord {
	d.mu.Lock()
	defer d.mu.Unlock()
	for kind, known := range d.kinds {
		switch {
		case now.Sub(known.at) < denialEvery && !now.Before(known.at):
		case known.repeated == 0:
			delete(d.kinds, kind)
		case d.spend(now):
			known.rec.Repeated = known.repeated - 1 // the record itself is one of them
			d.ready = append(d.ready, known.rec)
			known.at, known.repeated = now, 0
		}
	}
	if d.missed > 0 && d.spend(now) {
		d.ready = append(d.ready, api.AuditRecord{
			TimeMS: now.UnixMilli(), Actor: api.Actor{ID: "others", Kind: "anonymous"}, Verb: VerbDenied, Result: api.AuditDenied, Repeated: d.missed - 1,
		})
		d.missed = 0
	}
	out := d.ready
	d.ready = nil
	slices.SortStableFunc(out, func(a, b api.AuditRecord) int { return cmp.Compare(a.TimeMS, b.TimeMS) })
	return out
}

// Return gives records back that could not be written; beyond a few minutes' worth they are only counted.
func (d *Denials) Return(recs []api.AuditRecord) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ready = append(recs, d.ready...)
	for len(d.ready) > 5*denialsMax {
		d.missed += 1 + d.ready[0].Repeated
		d.ready = d.ready[1:]
	}
}

// network is what one machine has of addresses: of IPv6 a whole /64.
func network(source string) string {
	if ip, err := netip.ParseAddr(source); err == nil && ip.Unmap().Is6() {
		if p, err := ip.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return source
}
