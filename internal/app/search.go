package app

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/hub"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// hubs are those that people search, each as this process's node fetches from it, or where everybody does. They are asked without a credential: what a
// token may see is not for everybody who may search.
type hubs map[api.ModelSource]*hub.Client

// newHubs returns how to ask them; an offline process asks nobody.
func newHubs(o Options) (httpapi.Hubs, error) {
	if o.Running.Offline {
		return httpapi.Hubs{}, nil
	}
	h := hubs{}
	for source, endpoint := range map[api.ModelSource]string{
		api.SourceHuggingFace: cmp.Or(o.Running.HFEndpoint, hub.Default), api.SourceModelScope: cmp.Or(o.Running.ScopeEndpoint, hub.DefaultScope),
	} {
		c, err := hub.New(hub.Config{
			Source: source, Endpoint: endpoint, UserAgent: "nebula/" + o.Version.Version, Proxy: http.ProxyFromEnvironment, Log: o.Log.With("component", "search"),
		})
		if err != nil {
			return httpapi.Hubs{}, err
		}
		h[source] = c
	}
	return httpapi.Hubs{Search: h.search, Files: h.files}, nil
}

func (h hubs) search(ctx context.Context, source api.ModelSource, words string, limit int) ([]api.HubModel, error) {
	c := h[source]
	if c == nil {
		return nil, fail.Final(api.FailHub, fail.Unsupported, "there is no hub called %q", fail.Clip(string(source)))
	}
	found, err := c.Search(ctx, words, limit)
	if err != nil {
		return nil, hubFault(c, err)
	}
	out := make([]api.HubModel, 0, len(found))
	for _, f := range found {
		out = append(out, hubModel(source, f))
	}
	return out, nil
}

// files lists a repository of a hub, whose names have been checked neither here nor by the hub.
func (h hubs) files(ctx context.Context, source api.ModelSource, name, revision string) (api.HubFiles, error) {
	c := h[source]
	if c == nil {
		return api.HubFiles{}, fail.Final(api.FailHub, fail.Unsupported, "there is no hub called %q", fail.Clip(string(source)))
	}
	revision = cmp.Or(revision, c.DefaultRevision())
	if err := c.Check(name, revision); err != nil {
		return api.HubFiles{}, &httpapi.HubNameError{Err: err}
	}
	if c.Busy() > 0 {
		return api.HubFiles{}, &httpapi.HubBusyError{After: c.Busy(), Err: fail.Passing(api.FailHub, fail.RateLimited, "the hub limits the number of requests")}
	}
	repo := c.Repo(name)
	pin, err := repo.Resolve(ctx, revision)
	if err != nil {
		return api.HubFiles{}, hubFault(c, err)
	}
	entries, err := repo.List(ctx, pin)
	if err != nil {
		return api.HubFiles{}, hubFault(c, err)
	}
	out := api.HubFiles{Name: name, Source: source, Revision: revision, Commit: pin.Commit, Files: len(entries), Variants: []api.HubVariant{}}
	for _, e := range entries {
		out.SizeBytes += uint64(max(e.Size, 0))
	}
	listed := manifest.ByPath(entries)
	for _, model := range manifest.Candidates(entries) {
		parts, err := manifest.Parts(listed, model)
		if err != nil {
			continue // some are missing: it cannot be served
		}
		v := api.HubVariant{File: model.Path, Parts: len(parts)}
		for _, p := range parts {
			v.SizeBytes += uint64(max(p.Size, 0))
		}
		out.Variants = append(out.Variants, v)
	}
	slices.SortFunc(out.Variants, func(a, b api.HubVariant) int {
		return cmp.Or(cmp.Compare(a.SizeBytes, b.SizeBytes), cmp.Compare(a.File, b.File))
	})
	return out, nil
}

// hubFault is what a hub's refusal is to who asks.
func hubFault(c *hub.Client, err error) error {
	switch {
	case fail.Has(err, fail.RateLimited):
		return &httpapi.HubBusyError{After: c.Busy(), Err: err}
	case fail.Has(err, fail.NotFound), fail.Has(err, fail.NoRevision), fail.Has(err, fail.Gated), fail.Has(err, fail.Disabled):
		return &httpapi.HubNameError{Missing: true, Err: err}
	}
	return err
}

func hubModel(source api.ModelSource, f hub.Found) api.HubModel {
	owner, _, ok := strings.Cut(f.ID, "/")
	if !ok {
		owner = ""
	}
	return api.HubModel{
		ID: f.ID, Source: source, Author: cmp.Or(f.Author, owner), Downloads: f.Downloads, Likes: f.Likes, Task: f.Task, Library: f.Library, Licence: f.Licence,
		Tags: append([]string{}, f.Tags...), CreatedAtMS: millis(f.Created), UpdatedAtMS: millis(f.Updated), Gated: f.Gated, Parameters: f.Parameters, SizeBytes: f.Bytes,
	}
}

// millis is a time as documents have it; 0 = none.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
