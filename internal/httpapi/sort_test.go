package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
)

// models makes models of which each says something else about itself.
func someModels(s *server) {
	s.t.Helper()
	for _, body := range []string{
		`{"model_uid":"a","model_name":"acme/Zebra","labels":{"team":"search","stage":"prod"}}`,
		`{"model_uid":"b","model_name":"acme/apple","engine_type":"vllm","labels":{"team":"ads"}}`,
		`{"model_uid":"c","model_name":"beta/Zebra","engine_type":"sglang","auto_start":true,"replicas":3}`,
		`{"model_uid":"d","model_name":"beta/mango","engine_type":"vllm","auto_start":true,"replicas":1,"labels":{"team":"search"}}`,
		`{"model_uid":"e-search","model_name":"acme/pear"}`,
	} {
		s.must(201, "POST", "/api/v2/models", body)
	}
}

func uids(t *testing.T, s *server, query string) (string, answer) {
	t.Helper()
	res, body := s.call("GET", "/api/v2/models?"+query, "")
	if res.StatusCode != 200 {
		t.Fatalf("?%s: %d %s", query, res.StatusCode, body)
	}
	var list []api.ModelView
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(list))
	for i, m := range list {
		out[i] = m.ModelUID
	}
	return strings.Join(out, " "), res
}

// TestModels_sortedAndSearched: the order and the text that are asked for, and how many there are whatever the page holds.
func TestModels_sortedAndSearched(t *testing.T) {
	s := serve(t)
	someModels(s)
	long := strings.Repeat("ä", 200)
	for query, want := range map[string]string{
		"":                                    "a b c d e-search",
		"sort=uid":                            "a b c d e-search",
		"sort=-uid":                           "e-search d c b a",
		"sort=name":                           "b e-search a d c", // capitals are as small letters
		"sort=-name":                          "c d a e-search b",
		"sort=replicas":                       "a b e-search d c",
		"sort=-replicas":                      "c d a b e-search",
		"sort=engine":                         "c a b d e-search", // vllm, where none is said
		"sort=state":                          "c d a b e-search", // starting, stopped
		"sort=created":                        "a b c d e-search",
		"sort=-updated":                       "e-search d c b a",
		"q=zebra":                             "a c",
		"q=ZEBRA&sort=-name":                  "c a",
		"q=search":                            "a d e-search",
		"q=search&label=team%3Dsearch":        "a d",
		"q=acme/&state=stopped":               "a b e-search",
		"q=team":                              "", // the key of a label is no value
		"q=searchprod":                        "",
		"q=%25":                               "",
		"q=" + url.QueryEscape(long):          "",
		"q=&sort=":                            "a b c d e-search",
		"q=beta&engine=vllm&sort=-replicas":   "d",
		"q=%00":                               "",
		"q=" + url.QueryEscape(`<img src=x>`): "",
	} {
		got, res := uids(t, s, query)
		if strings.HasPrefix(query, "sort=created") || strings.HasPrefix(query, "sort=-updated") { // of one millisecond, perhaps
			words := strings.Fields(got)
			slices.Sort(words)
			got, want = strings.Join(words, " "), "a b c d e-search"
		}
		if got != want {
			t.Errorf("?%.60s: %s, want %s", query, got, want)
		}
		if total := res.Header.Get("Nebula-Total"); total != strconv.Itoa(len(strings.Fields(want))) {
			t.Errorf("?%.60s: Nebula-Total is %s", query, total)
		}
		page, res := uids(t, s, query+"&limit=1")
		if want != "" && len(strings.Fields(page)) != 1 || res.Header.Get("Nebula-Total") != strconv.Itoa(len(strings.Fields(want))) {
			t.Errorf("?%.60s, a page of 1: %s, %v", query, page, res.Header)
		}
	}
	for _, query := range []string{"sort=size", "sort=--uid", "sort=UID", "sort=-", "sort=uid,name", "q=" + url.QueryEscape(long+"x"), "watch=1&sort=size", "watch=1&q=" + url.QueryEscape(long+"x")} {
		e := errorOf(t, s.must(400, "GET", "/api/v2/models?"+query, ""))
		if strings.Contains(query, "sort=") && !strings.Contains(e.Message, "uid, name, state, engine, replicas, created, updated") || len(e.Details) != 1 {
			t.Errorf("?%.60s: %v", query, e)
		}
	}
	for _, query := range []string{"/api/v2/nodes?q=" + long + "x", "/api/v2/templates?q=" + long + "x", "/api/v2/nodes?sort=gpus", "/api/v2/summary/models?state=x"} {
		s.must(400, "GET", query, "")
	}
}

// TestSearch_nodesAndTemplates: the lists that are short are searched, too, watched or not.
func TestSearch_nodesAndTemplates(t *testing.T) {
	s := serve(t)
	manyOfEverything(t, s)
	for path, want := range map[string]int{
		"/api/v2/nodes?q=A": 3, "/api/v2/nodes?q=a-b": 1, "/api/v2/nodes?q=none": 0, "/api/v2/templates?source=user&q=M_1": 1, "/api/v2/templates?source=user&q=acme": 7, "/api/v2/templates?q=no-such": 0,
	} {
		res, body := s.call("GET", path, "")
		if got := len(decodeList(t, path, body)); got != want || res.Header.Get("Nebula-Total") != strconv.Itoa(want) {
			t.Errorf("%s: %d, %v", path, got, res.Header)
		}
	}
	e := <-stream(t, s.URL+"/api/v2/nodes?watch=1&q=a&sort=-id")
	var nodes []api.NodeView
	if err := json.Unmarshal([]byte(e.Data), &nodes); err != nil || len(nodes) != 3 || nodes[0].NodeID != "a.b" {
		t.Errorf("%v: %s", err, e.Data)
	}
}

// TestModels_listThenFollow: who has a page of a list is told, from the list's revision on, exactly what has changed.
func TestModels_listThenFollow(t *testing.T) {
	s := serve(t)
	s.must(200, "GET", "/api/v2/models", "") // from here on this server knows what changes
	someModels(s)
	for _, uid := range []string{"c", "d"} { // so that nothing changes by the clock
		s.must(200, "POST", "/api/v2/models/"+uid+"/stop", "")
	}
	list := func(query string) string {
		_, res := uids(t, s, query)
		rev := res.Header.Get("Nebula-Revision")
		if n, err := strconv.ParseInt(rev, 10, 64); err != nil || n <= 0 {
			t.Fatalf("?%s: Nebula-Revision is %q", query, rev)
		}
		return rev
	}
	all, searched := list("limit=1&sort=-name"), list("q=zebra&limit=1")
	follow := func(query string, want ...string) {
		t.Helper()
		got, _ := until(t, stream(t, s.URL+"/api/v2/models?watch=1&"+query), "synced")
		if diff := cmp.Diff(append(want, "synced"), got); diff != "" {
			t.Errorf("?%s (-want +got):\n%s", query, diff)
		}
	}
	follow("since=" + all)
	follow("q=zebra&since=" + searched)
	s.must(200, "PUT", "/api/v2/models/b", `{"labels":{"team":"zebras"}}`)
	s.must(200, "PUT", "/api/v2/models/e-search", `{"labels":{"x":"y"}}`)
	s.must(200, "DELETE", "/api/v2/models/a", "")
	s.must(200, "PUT", "/api/v2/models/d", `{"labels":{"team":"Zebra 2"}}`)
	s.must(200, "PUT", "/api/v2/models/d", `{"labels":{"team":"none"}}`)
	follow("since="+all, "deleted a", "model b", "model d", "model e-search")
	follow("q=zebra&since="+searched, "deleted a", "model b")
	_, now := until(t, stream(t, s.URL+"/api/v2/models?watch=1&q=zebra"), "synced")
	s.must(200, "PUT", "/api/v2/models/b", `{"labels":{}}`)
	follow("q=zebra&since="+now, "deleted b")
}

// TestModels_summary: everything is counted, under the filters of the list, and what would be too much is left out and counted.
func TestModels_summary(t *testing.T) {
	s := serve(t)
	someModels(s)
	ask := func(query string) api.ModelSummary {
		t.Helper()
		var out api.ModelSummary
		res, body := s.call("GET", "/api/v2/summary/models?"+query, "", "Authorization", "Bearer "+strings.Repeat("v", 40))
		if err := json.Unmarshal([]byte(body), &out); err != nil || res.StatusCode != 200 || res.Header.Get("Nebula-Revision") == "" {
			t.Fatalf("%d %v: %s", res.StatusCode, err, body)
		}
		return out
	}
	none := map[api.ModelState]int{}
	for _, state := range api.ModelStates() {
		none[state] = 0
	}
	states := func(stopped, starting int) map[api.ModelState]int {
		out := map[api.ModelState]int{}
		for state := range none {
			out[state] = 0
		}
		out[api.StateStopped], out[api.StateStarting] = stopped, starting
		return out
	}
	count := func(value string, n int) api.LabelValueCount { return api.LabelValueCount{Value: value, Models: n} }
	stage := api.LabelSummary{Key: "stage", Models: 1, Values: []api.LabelValueCount{count("prod", 1)}}
	for query, want := range map[string]api.ModelSummary{
		"": {
			Total: 5, States: states(3, 2), Engines: map[string]int{"vllm": 4, "sglang": 1},
			Labels: []api.LabelSummary{{Key: "team", Models: 3, Values: []api.LabelValueCount{count("search", 2), count("ads", 1)}}, stage},
		},
		"label=team%3Dsearch&state=stopped": {
			Total: 1, States: states(1, 0), Engines: map[string]int{"vllm": 1},
			Labels: []api.LabelSummary{stage, {Key: "team", Models: 1, Values: []api.LabelValueCount{count("search", 1)}}},
		},
		"q=zebra&engine=sglang": {Total: 1, States: states(0, 1), Engines: map[string]int{"sglang": 1}, Labels: []api.LabelSummary{}},
		"q=none":                {States: none, Engines: map[string]int{}, Labels: []api.LabelSummary{}},
	} {
		for range 2 {
			got := ask(query)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("?%s (-want +got):\n%s", query, diff)
			}
		}
	}
	s.must(200, "DELETE", "/api/v2/models/a", "")
	if got := ask(""); got.Total != 4 {
		t.Errorf("after a deletion: %v", got)
	}
	labels := map[string]string{}
	for i := range 60 {
		labels[fmt.Sprintf("k%02d", i)] = "v"
	}
	for i := range 60 {
		labels["k00"] = fmt.Sprintf("v%02d", i)
		s.must(201, "POST", "/api/v2/models", text(t, api.CreateModel{ModelUID: fmt.Sprintf("m%d", i), ModelName: "acme/m", Labels: labels}))
	}
	got := ask("q=acme/m")
	if len(got.Labels) != 50 || got.MoreLabels != 10 || got.Labels[0].Key != "k00" || len(got.Labels[0].Values) != 50 || got.Labels[0].MoreValues != 10 || got.Labels[0].Models != 60 {
		t.Errorf("%d keys and %d more, %d values and %d more: %v", len(got.Labels), got.MoreLabels, len(got.Labels[0].Values), got.Labels[0].MoreValues, got.Labels[0])
	}
}
