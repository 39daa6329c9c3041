// Package audit makes the records of the audit log and proves that nobody changed them since: each record carries the hash of the one before
// it. Everything here is a function of its arguments; control stores the records and httpapi shows them.
package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// maxWord bounds each text of a record, in bytes: what comes from outside is cut, so that a record always fits.
const maxWord = 256

// Chain puts a record at the end of a chain. It returns the record as it is to be stored, its number and hashes filled in, as JSON too, and the
// new end.
func Chain(head api.AuditHead, rec api.AuditRecord) (api.AuditRecord, []byte, api.AuditHead, error) {
	rec.Seq, rec.PrevHash, rec.Hash = head.Seq+1, head.Hash, ""
	for _, word := range []*string{&rec.Actor.ID, &rec.Actor.KeyID, &rec.Source, &rec.Verb, &rec.Object, &rec.RequestID} {
		*word = legible(*word)
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return rec, nil, head, fmt.Errorf("encode an audit record: %w", err)
	}
	sum := sha256.Sum256(b)
	rec.Hash = hex.EncodeToString(sum[:])
	head.Seq, head.Hash = rec.Seq, rec.Hash
	return rec, append(bytes.TrimSuffix(b, []byte(unsealed)), []byte(`"hash":"`+rec.Hash+`"}`)...), head, nil
}

// unsealed is how a record ends before its hash is known.
const unsealed = `"hash":""}`

// legible makes a word one that JSON gives back as it was.
func legible(s string) string {
	if len(s) > maxWord {
		s = s[:maxWord]
	}
	return strings.ToValidUTF8(s, "�")
}

// Read decodes a stored record and tells whether it is as it was written: its hash is the SHA-256, in hex, of its JSON with an empty hash, which is
// always the last field. The bytes decide, not the fields that this version knows, so a record of a newer version is no broken one.
func Read(line []byte) (api.AuditRecord, error) {
	var rec api.AuditRecord
	line = bytes.TrimSpace(line)
	if err := json.Unmarshal(line, &rec); err != nil {
		return rec, fmt.Errorf("it is not a record: %w", err)
	}
	body, ok := bytes.CutSuffix(line, []byte(`"hash":"`+rec.Hash+`"}`))
	sum := sha256.Sum256(append(bytes.Clone(body), unsealed...))
	if !ok || hex.EncodeToString(sum[:]) != rec.Hash {
		return rec, fmt.Errorf("record %d was changed after it was written", rec.Seq)
	}
	return rec, nil
}

// Follows tells whether rec comes right after the record that head names. The zero head knows nothing of what came before.
func Follows(head api.AuditHead, rec api.AuditRecord) error {
	switch {
	case head.Seq == 0:
		return nil
	case rec.Seq != head.Seq+1:
		return fmt.Errorf("record %d is followed by record %d: what was between them is missing", head.Seq, rec.Seq)
	case rec.PrevHash != head.Hash:
		return fmt.Errorf("record %d does not follow record %d as it is here: one of them is not the one that was written", rec.Seq, head.Seq)
	}
	return nil
}

// Checker verifies records one after the other.
type Checker struct {
	Noted map[uint64]string // hashes that are known from elsewhere, by number

	Head    api.AuditHead // of the last record that was in order
	First   uint64        // number of the first one; 0: there was none
	Count   int
	Renewed []uint64 // records with which the chain went on after its end was lost, as they say

	before string // prev_hash of the first one
}

// Next takes the next line of an export.
func (c *Checker) Next(line []byte) error {
	rec, err := Read(line)
	if err != nil {
		return err
	}
	if err := Follows(c.Head, rec); err != nil {
		return err
	}
	if hash, noted := c.Noted[rec.Seq]; noted && hash != rec.Hash {
		return fmt.Errorf("record %d is not the one that was noted elsewhere: the log was written anew", rec.Seq)
	}
	if c.First == 0 {
		c.First, c.before = rec.Seq, rec.PrevHash
	}
	if rec.Verb == VerbRepair {
		c.Renewed = append(c.Renewed, rec.Seq)
	}
	c.Head = api.AuditHead{Seq: rec.Seq, Hash: rec.Hash}
	c.Count++
	return nil
}

// Verbs of records about the log itself.
const (
	VerbRepair = "audit.repair" // its end was found anew
	VerbTrim   = "audit.trim"   // the oldest records were removed
)

// Complete tells whether what was checked is all that the server has by its own account: from the anchor to the end.
func (c *Checker) Complete(end api.AuditHead) error {
	var begin api.AuditAnchor
	if end.Anchor != nil {
		begin = *end.Anchor
	}
	switch {
	case c.Head.Seq < end.Seq:
		return fmt.Errorf("the log ends with record %d, and there are %d by its own account: the newest are missing", c.Head.Seq, end.Seq)
	case c.Count == 0:
		return nil
	case c.First > begin.Seq+1:
		return fmt.Errorf("the log begins with record %d, and it should begin with %d: the oldest are missing", c.First, begin.Seq+1)
	case c.First == begin.Seq+1 && c.before != begin.Hash:
		return fmt.Errorf("record %d does not follow the last one that was removed: it is not the one that was written", c.First)
	}
	return nil
}
