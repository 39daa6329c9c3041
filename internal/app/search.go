package app

import (
	"cmp"
	"context"
	"net/http"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/hub"
)

// searchHub asks the hub that this process's node fetches from, or Hugging Face where there is none, without a credential: what a token may see is not
// for everybody who may search. An offline process asks nobody: nil.
func searchHub(o Options) (func(ctx context.Context, words string, limit int) ([]api.V1FoundModel, error), error) {
	if o.Running.Offline {
		return nil, nil
	}
	c, err := hub.New(hub.Config{
		Endpoint: cmp.Or(o.Running.HFEndpoint, hub.Default), UserAgent: "nebula/" + o.Version.Version, Proxy: http.ProxyFromEnvironment,
		Log: o.Log.With("component", "search"),
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, words string, limit int) ([]api.V1FoundModel, error) {
		found, err := c.Search(ctx, words, limit)
		if err != nil {
			return nil, err
		}
		out := make([]api.V1FoundModel, 0, len(found))
		for _, f := range found {
			out = append(out, foundModel(f))
		}
		return out, nil
	}, nil
}

func foundModel(f hub.Found) api.V1FoundModel {
	owner, name, ok := strings.Cut(f.ID, "/")
	if !ok {
		owner, name = "", f.ID
	}
	m := api.V1FoundModel{
		ID: f.ID, Name: name, Author: cmp.Or(f.Author, owner), Downloads: f.Downloads, Likes: f.Likes, Tags: append([]string{}, f.Tags...), Source: "huggingface",
	}
	if f.PipelineTag != "" {
		m.PipelineTag = &f.PipelineTag
	}
	return m
}
