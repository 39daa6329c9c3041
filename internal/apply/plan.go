package apply

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/nebula-serve/nebula/api"
)

// Verb says what a change does to an object.
type Verb string

// The verbs. A change may do several things: update and scale, say.
const (
	VerbCreate Verb = "create"
	VerbUpdate Verb = "update"
	VerbStart  Verb = "start"
	VerbStop   Verb = "stop"
	VerbScale  Verb = "scale"
	VerbDelete Verb = "delete"
)

// Change leads from what the cluster has to what a document wishes. Without verbs there is nothing to do.
type Change struct {
	Ref
	Verbs []Verb
	// Revision is that of the object which the change was made from: carrying it out must fail when it is another by now. 0 = the object must not exist.
	Revision int64
	// Live and Wished are the whole documents before and after; nil where there is none.
	Live, Wished json.RawMessage
	// At is the document that asks for the change; zero for one that prune deletes.
	At Position
}

// Does tells whether the change does v.
func (c *Change) Does(v Verb) bool { return slices.Contains(c.Verbs, v) }

// WantsRunning tells whether the object is to run after the change.
func (c *Change) WantsRunning() bool {
	var doc struct {
		DesiredState api.DesiredState `json:"desired_state"`
	}
	return c.Wished != nil && json.Unmarshal(c.Wished, &doc) == nil && doc.DesiredState == api.DesiredRunning
}

// Options of a plan.
type Options struct {
	// Prune deletes the live objects that Selected chooses and no document names.
	Prune    bool
	Selected func(Ref) bool
	// Whole means that documents say everything: what they leave out is unset, but for what always has a value.
	Whole bool
}

// Plan says what leads from live, the objects as they are, to docs: the changes in the order of the documents, then what is to be deleted. An
// object that no document names and that is not pruned is left alone. What is wrong with a wished object comes back as one error with all places.
func Plan(docs []Doc, live map[Ref]Object, o Options) ([]Change, error) {
	var out []Change
	var problems []api.Field
	named := make(map[Ref]bool, len(docs))
	for i := range docs {
		d := &docs[i]
		named[d.Ref] = true
		before, there := live[d.Ref]
		c, err := planOne(d, before, there, o)
		if err != nil {
			found, ok := locate(d, err)
			if !ok {
				return nil, err
			}
			problems = append(problems, found...)
			continue
		}
		out = append(out, c)
	}
	if len(problems) > 0 {
		return nil, invalid(firstProblems(problems))
	}
	if o.Prune && o.Selected != nil {
		var gone []Change
		for ref, before := range live {
			if !named[ref] && o.Selected(ref) {
				gone = append(gone, Change{Ref: ref, Verbs: []Verb{VerbDelete}, Revision: before.Revision, Live: before.Doc})
			}
		}
		slices.SortFunc(gone, func(a, b Change) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID)) })
		out = append(out, gone...)
	}
	return out, nil
}

func planOne(d *Doc, before Object, there bool, o Options) (Change, error) {
	rules, ok := rulesOf(d.Kind)
	if !ok {
		return Change{}, fmt.Errorf("there are no rules for documents of kind %q", d.Kind)
	}
	wished, err := rules.wish(d, before.Doc, there, o.Whole)
	if err != nil {
		return Change{}, err
	}
	settled, err := rules.settle(wished, !there)
	if err != nil {
		return Change{}, err
	}
	c := Change{Ref: d.Ref, At: d.At, Revision: before.Revision, Live: before.Doc}
	if c.Wished, err = canonical(settled); err != nil {
		return Change{}, err
	}
	if !there || !bytes.Equal(c.Live, c.Wished) {
		c.Verbs = rules.verbs(c.Live, c.Wished)
	}
	return c, nil
}

// wish is the document after the patch, as it stands there.
func (r *kindRules) wish(d *Doc, live []byte, there, whole bool) ([]byte, error) {
	patch, err := object(d.Patch)
	if err != nil {
		return nil, err
	}
	for _, f := range r.lasting {
		if v, mentioned := patch[f]; mentioned && v == nil {
			return nil, &api.Error{Code: api.CodeInvalidRequest, Message: f + " cannot be unset", Details: []api.Field{{Field: f, Reason: "cannot be unset: give another value, or leave the line out to keep the one it has"}}}
		}
	}
	fresh, err := canonical(r.fresh(d.ID))
	if err != nil {
		return nil, err
	}
	base, err := object(fresh)
	if err != nil {
		return nil, err
	}
	if there {
		before, err := object(live)
		if err != nil {
			return nil, err
		}
		if !whole {
			base = before
		}
		for _, f := range r.lasting {
			if v, ok := before[f]; ok {
				base[f] = v
			}
		}
	}
	r.expand(patch, base)
	b, err := json.Marshal(mergePatch(base, patch))
	if err != nil {
		return nil, fmt.Errorf("encode a document: %w", err)
	}
	return b, nil
}

// locate turns what is wrong with an object into places of its document.
func locate(d *Doc, err error) ([]api.Field, bool) {
	e, ok := errors.AsType[*api.Error](err)
	if !ok {
		return nil, false
	}
	if len(e.Details) == 0 {
		return []api.Field{{Field: d.At.String(), Reason: e.Message}}, true
	}
	var out []api.Field
	details := slices.Clone(e.Details)
	slices.SortStableFunc(details, func(a, b api.Field) int { return cmp.Compare(d.line(a.Field).Line, d.line(b.Field).Line) })
	for _, f := range details {
		out = append(out, api.Field{Field: d.line(f.Field).String(), Reason: d.String() + ": " + f.Field + " " + f.Reason})
	}
	return out, true
}

// maxProblems bounds how many problems are told at once.
const maxProblems = 20

func firstProblems(all []api.Field) []api.Field {
	if len(all) <= maxProblems {
		return all
	}
	more := api.Field{Field: "…", Reason: fmt.Sprintf("and %d problems more", len(all)-maxProblems)}
	return append(slices.Clone(all[:maxProblems]), more)
}
