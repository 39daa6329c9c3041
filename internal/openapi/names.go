package openapi

import (
	"slices"
	"strings"
)

// operationID names an operation after its method and path, as functions are named: listModels, createModel, getModel, startModel. It is part
// of what generated clients are written against, so a path keeps its name.
func operationID(op Operation) string {
	if id, ok := ids[op.Method+" "+op.Path]; ok {
		return id
	}
	path := strings.TrimPrefix(strings.TrimPrefix(op.Path, "/api/v2/"), "/")
	if rest, gateway := strings.CutPrefix(op.Path, V1Gateway); gateway {
		path = "v1-gateway/" + rest
	}
	segments := strings.Split(path, "/")
	if IsV1(op.Path) && segments[0] == "api" {
		segments[0] = "v1"
	}
	if IsInference(op.Path) {
		segments[0] = "openai" // so that no name of OpenAI's API is one of ours
	}
	var words []string
	for i, seg := range segments {
		if strings.HasPrefix(seg, "{") {
			continue
		}
		if i+1 < len(segments) && strings.HasPrefix(segments[i+1], "{") {
			seg = singular(seg)
		}
		words = append(words, camel(seg))
	}
	last := segments[len(segments)-1]
	aboutOne := strings.HasPrefix(last, "{")
	if op.Method == "POST" && !aboutOne && len(words) > 1 && op.Status != 201 { // an act: its name is the verb
		verb := words[len(words)-1]
		return lower(verb) + strings.Join(words[:len(words)-1], "")
	}
	noun := strings.Join(words, "")
	switch op.Method {
	case "GET":
		if !aboutOne && isList(op) {
			return "list" + noun
		}
		return "get" + noun
	case "POST":
		return "create" + singular(noun)
	case "PUT":
		return "put" + noun
	}
	return strings.ToLower(op.Method) + noun
}

// ids are the names that do not follow from the path.
var ids = map[string]string{
	"GET /{$}":                                    "getIndex",
	"GET /api/openapi.json":                       "getOpenAPI",
	"GET /api/docs":                               "getDocs",
	"GET /assets/{file}":                          "getAsset",
	"GET /favicon.svg":                            "getFavicon",
	"GET /api/v2/hub/files":                       "listHubFiles",
	"GET /api/v2/hub/models":                      "searchHub",
	"GET /api/v2/summary/models":                  "summarizeModels",
	"GET /setup":                                  "getSetupPage",
	"PUT /api/v2/models/{uid}":                    "updateModel",
	"POST /api/v2/templates/{id}/deploy":          "deployTemplate",
	"POST /api/v2/models/{uid}/save-as-template":  "saveModelAsTemplate",
	"GET /api/v2/auth/oidc/login":                 "loginByOIDC",
	"GET /api/v2/auth/oidc/callback":              "finishLoginByOIDC",
	"POST /api/v2/join":                           "join",
	"POST /api/v2/renew":                          "renew",
	"POST /api/v2/nodes/{id}/blobs":               "askBlobs",
	"POST /api/v2/nodes/{id}/heartbeat":           "heartbeat",
	"GET /api/v2/nodes/{id}/secrets/{uid}":        "getModelToken",
	"POST /api/v2/nodes/{id}/cache/prune/dry-run": "dryPruneNodeCache",
	"DELETE /api/v2/nodes/{id}/cache":             "evictNodeFiles",
	"POST /v1/admin/models/requests/{id}":         "unloadV1GatewayRequest",
	"POST /v1/chat/completions":                   "createChatCompletion",
	"POST /v1/completions":                        "createCompletion",
	"POST /v1/embeddings":                         "createEmbedding",
	"POST /v1/responses":                          "createResponse",
	"GET /v1/models":                              "listServedModels",
	"GET /v1/models/{model...}":                   "getServedModel",
}

func isList(op Operation) bool { return op.Response != nil && op.Response.Kind().String() == "slice" }

func singular(s string) string {
	switch {
	case strings.HasSuffix(s, "ies"):
		return strings.TrimSuffix(s, "ies") + "y"
	case strings.HasSuffix(s, "ss"), s == "status":
		return s
	}
	return strings.TrimSuffix(s, "s")
}

// camel writes accept-history as AcceptHistory.
func camel(s string) string {
	var b strings.Builder
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == '-' || r == '_' || r == '.' }) {
		b.WriteString(strings.ToUpper(w[:1]) + w[1:])
	}
	return b.String()
}

func lower(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// tags are the groups of operations, in the order in which people meet them, with the first segments of the paths that they hold.
var tags = []struct {
	Tag
	segments []string
}{
	{Tag{"inference", "The models themselves, as OpenAI's API has them"}, []string{"v1"}},
	{Tag{"models", "What models there are, how they stand, and what is wished of them"}, []string{"models", "validate", "summary"}},
	{Tag{"templates", "Ready-made models to start from, and what hubs have"}, []string{"templates", "hub"}},
	{Tag{"endpoints", "The replicas that run"}, []string{"endpoints"}},
	{Tag{"nodes", "The machines that run models"}, []string{"nodes", "alerts"}},
	{Tag{"cache", "The models' files on the nodes"}, []string{"cache"}},
	{Tag{"cluster", "The machines of the cluster, and how others join it"}, []string{"cluster", "members", "tokens"}},
	{Tag{"access", "Users, their sessions and tokens, and API keys"}, []string{"users", "keys", "auth", "me", "sessions", "login", "logout", "setup", "oidc", "password", "profile", "whoami"}},
	{Tag{"secrets", "What models need to fetch their files"}, []string{"secrets"}},
	{Tag{"audit", "Who did what"}, []string{"audit"}},
	{Tag{"admin", "The store underneath, and what the existing Nebula has left in it"}, []string{"admin", "migrate", "v1-usage"}},
	{Tag{"observability", "How the gateway did, over the last minutes and hours"}, []string{"observability"}},
	{Tag{"process", "This process: health, version, metrics, this document, and the web console"}, []string{"", "healthz", "readyz", "metrics", "version", "openapi.json", "docs", "assets", "favicon.svg"}},
	{Tag{v1Tag, "The API of the existing Nebula, for its clients: it does the same as the other routes, which new clients should call"}, nil},
	{Tag{machinesTag, "What machines say to each other"}, []string{"join", "renew", "feed"}},
}

const (
	machinesTag = "machines"
	v1Tag       = "version 1"
)

func tagOf(op Operation) string {
	switch {
	case op.Access == ForMachines:
		return machinesTag
	case IsV1(op.Path):
		return v1Tag
	}
	path := strings.TrimPrefix(pathTemplate(op.Path), "/")
	path = strings.TrimPrefix(strings.TrimPrefix(path, "api/v2/"), "api/")
	first, _, _ := strings.Cut(path, "/")
	for _, t := range tags {
		if slices.Contains(t.segments, first) {
			return t.Name
		}
	}
	return first
}

// usedTags lists the groups that d has.
func usedTags(d *Document) []Tag {
	used := map[string]bool{}
	for _, item := range d.Paths {
		for _, o := range item {
			used[o.Tags[0]] = true
		}
	}
	var out []Tag
	for _, t := range tags {
		if used[t.Name] {
			out = append(out, t.Tag)
			delete(used, t.Name)
		}
	}
	rest := make([]string, 0, len(used))
	for name := range used {
		rest = append(rest, name)
	}
	slices.Sort(rest)
	for _, name := range rest {
		out = append(out, Tag{Name: name})
	}
	return out
}
