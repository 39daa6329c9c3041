package client

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/nebula-serve/nebula/api"
)

// allOfAModel is a list with every field that a model in a list has.
const allOfAModel = ` [ {"model_uid":"a","model_name":"acme/\u00e4\ud83d\ude00\"","engine_type":null,"labels":{"team":"search","":"x"},"revision":9007199254740993,
"created_at_ms":1764300000000,"updated_at_ms":-1,"state":"running","replicas":{"desired":4294967295,"ready":1,"starting":0,"unhealthy":0},
"reason":{"code":"no_nodes","message":"there is none"},"unknown":[{"x":[1,2.5e3,true,null]}],
"endpoints":[{"model_uid":"a","replica_id":0,"node_id":"n1","status":"ready","base_url":"http://127.0.0.1:1","gpu_indices":[0,1],"failure":{"message":"m"}}],
"downloads":[{"downloaded_bytes":18446744073709551615,"total_bytes":1}]}, {}, {"labels":null,"endpoints":null} ] `

// TestDecode_asTheStandardOne: both decoders say the same of a list of models, and of one that is damaged.
func TestDecode_asTheStandardOne(t *testing.T) {
	t.Parallel()
	same := func(b []byte) {
		t.Helper()
		var want, got []api.ModelView
		wantErr, gotErr := json.Unmarshal(b, &want), decode(b, &got)
		if (wantErr == nil) && (gotErr != nil || !reflect.DeepEqual(got, want)) {
			t.Errorf("%q:\n%+v, %v\nwant %+v", b, got, gotErr, want)
		}
	}
	for _, s := range []string{allOfAModel, "[]", "null", "{}", "", "[", "[{]", `[{"model_uid":1}]`, `[{"model_uid":"a"}`, `["a"]`, "[null]", "<html>", `[{"revision":1.5}]`} {
		same([]byte(s))
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		b := []byte(allOfAModel)
		for range 1 + r.IntN(3) {
			switch i := r.IntN(len(b)); r.IntN(3) {
			case 0:
				b[i] = byte(r.IntN(256))
			case 1:
				b = append(b[:i], b[i+1:]...)
			default:
				b = b[:i+1]
			}
		}
		same(b)
	}
}
