package nodeapi

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/nebula-serve/nebula/api"
)

const maxTail = 1_000_000

// log sends the log of a replica's engine, and with follow goes on until the caller leaves.
func (a *API) log(w http.ResponseWriter, r *http.Request, t target) {
	o, err := logOptions(r)
	if err != nil {
		refuse(w, err)
		return
	}
	from, err := a.cfg.OpenLog(r.Context(), t.uid, t.replica, o)
	if err != nil {
		refuse(w, err)
		return
	}
	defer func() { _ = from.Close() }()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	_ = rc.Flush() // a log that is followed may have nothing yet
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			_ = rc.SetWriteDeadline(time.Now().Add(a.cfg.CallerWrite))
			if _, err := w.Write(b[:n]); err != nil || rc.Flush() != nil {
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF) || r.Context().Err() != nil:
			return
		case err != nil:
			panic(http.ErrAbortHandler) // so that the caller sees that something is missing
		}
	}
}

func logOptions(r *http.Request) (LogOptions, error) {
	var o LogOptions
	for name, values := range r.URL.Query() {
		v := values[0]
		var err error
		switch {
		case len(values) > 1:
			err = errors.New("it is given twice")
		case name == "tail":
			if o.Tail, err = strconv.Atoi(v); err == nil && (o.Tail < 0 || o.Tail > maxTail) {
				err = errors.New("it is out of range")
			}
		case name == "follow":
			o.Follow, err = strconv.ParseBool(v)
		case name == "previous":
			o.Previous, err = strconv.ParseBool(v)
		default:
			err = errors.New("there is no such parameter")
		}
		if err != nil {
			return o, api.Errorf(api.CodeInvalidRequest, "parameter %.40q: %s", name, err)
		}
	}
	return o, nil
}

// refuse answers with an error for the machine that asked, in the envelope of Nebula's API.
func refuse(w http.ResponseWriter, err error) {
	e := asAPI(err)
	b, _ := json.Marshal(api.Envelope{Error: *e}) // strings
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Code.HTTPStatus())
	_, _ = w.Write(b) // the caller may have left
}

func asAPI(err error) *api.Error {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e
	}
	return api.Errorf(api.CodeInternal, "%s", err)
}
