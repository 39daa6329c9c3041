package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/apply"
)

// readers is how many objects are read at the same time.
const readers = 8

// readObjects reads what there is of refs. What the cluster has not is not in the answer.
func readObjects(ctx context.Context, cl *client.Client, refs []apply.Ref) (map[apply.Ref]apply.Object, error) {
	var mu sync.Mutex
	out := make(map[apply.Ref]apply.Object, len(refs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, ref := range refs {
		g.Go(func() error {
			o, err := readObject(ctx, cl, ref)
			if api.HasCode(err, api.CodeNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			out[ref] = o
			return nil
		})
	}
	return out, g.Wait()
}

func readObject(ctx context.Context, cl *client.Client, ref apply.Ref) (apply.Object, error) {
	switch ref.Kind {
	case apply.KindModel:
		d, err := cl.Model(ctx, ref.ID)
		if err != nil {
			return apply.Object{}, err
		}
		if d.Spec == nil {
			return apply.Object{}, api.Errorf(api.CodeConflict, "the stored spec of %s cannot be read: delete it with \"nebula model delete %s\", then declare it again", ref, ref.ID)
		}
		return apply.FromModel(*d.Spec, d.Deployment, d.Revision)
	case apply.KindTemplate:
		t, rev, err := cl.Template(ctx, ref.ID)
		if err != nil {
			return apply.Object{}, err
		}
		if t.Source == api.TemplateSystem {
			return apply.Object{}, api.Errorf(api.CodeConflict, "%s is built into Nebula and cannot be changed: give yours another template_id", ref)
		}
		return apply.FromTemplate(t, rev)
	}
	return apply.Object{}, fmt.Errorf("objects of kind %q cannot be read", ref.Kind)
}

// selector chooses objects by their labels: all of key=value must hold.
type selector []label

type label struct{ key, value string }

func parseSelector(text string) (selector, error) {
	var out selector
	for part := range strings.SplitSeq(text, ",") {
		k, v, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || k == "" {
			return nil, usagef("label %q must be key=value", part)
		}
		out = append(out, label{k, v})
	}
	return out, nil
}

func (s selector) holds(labels map[string]string) bool {
	for _, l := range s {
		if v, ok := labels[l.key]; !ok || v != l.value {
			return false
		}
	}
	return true
}

// chooses tells whether an object has the labels.
func (s selector) chooses(o apply.Object) bool {
	var doc struct {
		Labels map[string]string `json:"labels"`
	}
	return json.Unmarshal(o.Doc, &doc) == nil && s.holds(doc.Labels)
}

// modelsWith lists the models that have all labels of s; nil chooses all.
func modelsWith(ctx context.Context, cl *client.Client, s selector) ([]apply.Ref, error) {
	var o client.ListOptions
	if len(s) > 0 {
		o.Label = s[0].key + "=" + s[0].value
	}
	var out []apply.Ref
	for {
		page, next, err := cl.Models(ctx, o)
		if err != nil {
			return nil, err
		}
		for _, m := range page {
			if s.holds(m.Labels) {
				out = append(out, apply.Ref{Kind: apply.KindModel, ID: m.ModelUID})
			}
		}
		if next == "" {
			return out, nil
		}
		o.Cursor = next
	}
}

// templatesWith lists the templates of people that have all labels of s; nil chooses all.
func templatesWith(ctx context.Context, cl *client.Client, s selector) ([]apply.Ref, error) {
	all, err := cl.Templates(ctx, client.TemplateOptions{})
	if err != nil {
		return nil, err
	}
	var out []apply.Ref
	for _, t := range all {
		if t.Source != api.TemplateSystem && s.holds(t.Labels) {
			out = append(out, apply.Ref{Kind: apply.KindTemplate, ID: t.TemplateID})
		}
	}
	return out, nil
}

// objectsWith lists what there is of some kinds.
func objectsWith(ctx context.Context, cl *client.Client, kinds []apply.Kind, s selector) ([]apply.Ref, error) {
	var out []apply.Ref
	for _, k := range kinds {
		list := modelsWith
		if k == apply.KindTemplate {
			list = templatesWith
		}
		found, err := list(ctx, cl, s)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}
