package client

import (
	"encoding/json"
	"fmt"

	fast "github.com/goccy/go-json"

	"github.com/nebula-serve/nebula/api"
)

// decode reads an answer. Lists of models are long, and read by a decoder that takes a fifth of the time; what it does not like the standard one
// reads, or says what is wrong with it.
func decode(b []byte, out any) error {
	if list, ok := out.(*[]api.ModelView); ok {
		if models, err := decodeModels(b); err == nil {
			*list = models
			return nil
		}
	}
	return json.Unmarshal(b, out)
}

func decodeModels(b []byte) (list []api.ModelView, err error) {
	defer func() {
		if p := recover(); p != nil { // whatever a server sends
			err = fmt.Errorf("decode: %v", p)
		}
	}()
	err = fast.Unmarshal(b, &list)
	return list, err
}
