package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
)

const planted = "hf_canary0123456789"

func TestToken_printsAsStars(t *testing.T) {
	put := api.PutSecret{Value: planted}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s"} {
		for _, v := range []any{put, &put, put.Value, &put.Value, []any{put}, api.ModelToken{Token: planted}} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, planted) || strings.Contains(strings.ToLower(got), "68665f") {
				t.Errorf("%s of %T prints it: %s", verb, v, got)
			}
		}
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "put", put, "token", put.Value, "error", errors.New(fmt.Sprint(put)))
	if strings.Contains(log.String(), planted) {
		t.Errorf("logged: %s", log.String())
	}
}

func TestPutSecret_Validate(t *testing.T) {
	for name, c := range map[string]struct {
		name, value, says string
	}{
		"good":            {"hf-token", planted, ""},
		"longest":         {strings.Repeat("a", 63), strings.Repeat("v", 4096), ""},
		"no name":         {"", planted, "name \"\" is not a legal name"},
		"path as name":    {"../x", planted, "is not a legal name"},
		"slash":           {"a/b", planted, "is not a legal name"},
		"long name":       {strings.Repeat("a", 64), planted, "at most 63"},
		"token as name":   {planted, planted, "name looks like a token itself"},
		"no value":        {"a", "", "value must not be empty"},
		"long value":      {"a", strings.Repeat("v", 4097), "4097 bytes long; at most 4096"},
		"line break":      {"a", planted + "\n", "without spaces, line breaks"},
		"header smuggled": {"a", "x\r\nX-Evil: 1", "without spaces, line breaks"},
		"space":           {"a", planted + " b", "without spaces"},
		"not ASCII":       {"a", planted + "é", "not ASCII"},
		"not UTF-8":       {"a", planted + "\xff", "not ASCII"},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&api.PutSecret{Value: api.Token(c.value)}).Validate(c.name)
			switch {
			case c.says == "" && err != nil:
				t.Fatal(err)
			case c.says == "":
			case !api.HasCode(err, api.CodeInvalidRequest) || !strings.Contains(err.Error(), c.says):
				t.Errorf("%v; want %q", err, c.says)
			case strings.Contains(err.Error(), planted):
				t.Errorf("the value is in %v", err)
			}
		})
	}
}

func TestLooksLikeToken(t *testing.T) {
	for name, want := range map[string]bool{
		"hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345": true, "hf_abcdefghijklmnopqrstuvwxyzabcdefgh": true, "sk-proj-a1b2c3d4e5f6": true, "neb_k3j2h1_0a1b2c3d4e5f6a7b8c9d": true,
		"nbj_ab12cd34_0123456789abcdef01234567_x": true, "ghp_16C7e42F292c6912E7710c838347Ae178B4a": true, "123e4567-e89b-12d3-a456-426614174000": true, "ms-123e4567-e89b-12d3-a456-426614174000": true,
		"0a1b2c3d4e5f60718293a4b5c6d7e8f9": true, "x-0a1b2c3d4e5f60718293a4b5": true, "AKIAIOSFODNN7EXAMPLE1": true,

		"hf": false, "hf_token": false, "hf-members": false, "hf_production_eu_2": false, "sk-learn-models-2026": false, "modelscope": false, "team7": false, "": false,
		"internationalisation-of-everything": false, "HuggingFaceProductionToken": false, "hf_huggingfaceproduction": true, "20261128093000": false, "meta-llama-3.1-70b-instruct": false,
		"123e4567-e89b-12d3-a456-42661417400g": false,
	} {
		if got := api.LooksLikeToken(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// TestPutSecret_quotesNoValue: whatever is sent in the place of a value, the error does not repeat it.
func TestPutSecret_quotesNoValue(t *testing.T) {
	for _, body := range []string{`{"value": 8271828182845}`, `{"value": ["8271828182845"]}`, `{"value": {"8271828182845": 1}}`, `{"value": true}`} {
		err := json.Unmarshal([]byte(body), new(api.PutSecret))
		if err == nil || strings.Contains(err.Error(), "8271828182845") {
			t.Errorf("%s: %v", body, err)
		}
	}
}
