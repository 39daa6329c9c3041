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

// TestPutSecret_quotesNoValue: whatever is sent in the place of a value, the error does not repeat it.
func TestPutSecret_quotesNoValue(t *testing.T) {
	for _, body := range []string{`{"value": 8271828182845}`, `{"value": ["8271828182845"]}`, `{"value": {"8271828182845": 1}}`, `{"value": true}`} {
		err := json.Unmarshal([]byte(body), new(api.PutSecret))
		if err == nil || strings.Contains(err.Error(), "8271828182845") {
			t.Errorf("%s: %v", body, err)
		}
	}
}
