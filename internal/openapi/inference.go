package openapi

// The routes under /v1 speak OpenAI's API, and pass on what they do not know: their schemas name what Nebula itself looks at and the usual
// fields, and are open for all others.

var open = any(true)

func object(required []string, fields ...Property) *Schema {
	return &Schema{Type: "object", Properties: fields, Required: required, AdditionalProperties: open}
}

func prop(name, kind, words string) Property {
	return Property{name, &Schema{Type: kind, Description: words}}
}

func list(name string, of *Schema, words string) Property {
	return Property{name, &Schema{Type: "array", Items: of, Description: words}}
}

var modelField = prop("model", "string", "uid of a model that runs, or its name")

var streamField = prop("stream", "boolean", "Send the answer as server-sent events, as it comes")

var servedModel = object([]string{"id", "object"}, prop("id", "string", ""), prop("object", "string", ""), prop("created", "integer", "Unix time in seconds"), prop("owned_by", "string", ""))

var inference = map[string]struct {
	request, response *Schema
	streams           bool
}{
	"GET /v1/models":            {response: object([]string{"object", "data"}, prop("object", "string", ""), list("data", servedModel, ""))},
	"GET /v1/models/{model...}": {response: servedModel},
	"POST /v1/chat/completions": {
		request: object([]string{"model", "messages"}, modelField,
			list("messages", object([]string{"role"}, prop("role", "string", "system, user, assistant or tool"), Property{"content", &Schema{Description: "Text, or parts"}}), "The conversation so far"),
			streamField, prop("max_tokens", "integer", "At most so many new tokens"), prop("temperature", "number", "0 = always the likeliest token")),
		response: object([]string{"choices"}, prop("id", "string", ""), prop("object", "string", ""), prop("model", "string", ""), list("choices", object(nil), ""), Property{"usage", object(nil)}),
		streams:  true,
	},
	"POST /v1/completions": {
		request:  object([]string{"model", "prompt"}, modelField, Property{"prompt", &Schema{Description: "Text to continue"}}, streamField, prop("max_tokens", "integer", "At most so many new tokens")),
		response: object([]string{"choices"}, prop("id", "string", ""), prop("object", "string", ""), prop("model", "string", ""), list("choices", object(nil), ""), Property{"usage", object(nil)}),
		streams:  true,
	},
	"POST /v1/embeddings": {
		request:  object([]string{"model", "input"}, modelField, Property{"input", &Schema{Description: "A text, or a list of texts"}}),
		response: object([]string{"data"}, prop("object", "string", ""), prop("model", "string", ""), list("data", object(nil), ""), Property{"usage", object(nil)}),
	},
}

// describeInference fills in what a route under /v1 takes and answers with. One that is not known here takes and answers anything.
func describeInference(op Operation, o *OperationObject) {
	k, known := inference[op.Method+" "+op.Path]
	if !known {
		k.response = &Schema{}
		if op.Method != "GET" {
			k.request = object(nil)
		}
	}
	if k.request != nil {
		o.RequestBody = &RequestBody{Required: true, Content: map[string]Media{"application/json": {Schema: k.request}}}
	}
	res := &Response{Description: "Done", Headers: headersOf(op.Sends), Content: map[string]Media{"application/json": {Schema: k.response}}}
	if k.streams {
		res.Content["text/event-stream"] = Media{Schema: &Schema{Type: "string", Description: "Chunks as server-sent events without names; the last one is [DONE]"}}
	}
	o.Responses["200"] = res
}
