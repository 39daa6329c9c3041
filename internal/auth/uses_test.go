package auth

import (
	"fmt"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
)

func TestUses(t *testing.T) {
	var u Uses
	at := time.Unix(600, 0)
	if got := u.Take(at); got != nil {
		t.Errorf("out of nothing: %v", got)
	}
	for range 1000 {
		u.Note("a", "192.0.2.1", at.Add(5*time.Second))
		u.Note("b", "192.0.2.2", at.Add(6*time.Second))
	}
	got := u.Take(at.Add(10 * time.Second))
	if len(got) != 2 || got[0] != (api.KeyUse{ID: "a", LastUsedMS: at.UnixMilli(), Source: "192.0.2.1"}) || got[1].ID != "b" {
		t.Errorf("first %+v", got)
	}
	u.Note("a", "192.0.2.1", at.Add(59*time.Second))
	if got := u.Take(at.Add(59 * time.Second)); len(got) != 0 {
		t.Errorf("a second one within a minute: %+v", got)
	}
	u.Note("a", "192.0.2.3", at.Add(60*time.Second))
	next := u.Take(at.Add(61 * time.Second))
	if len(next) != 1 || next[0].LastUsedMS != at.Add(time.Minute).UnixMilli() || next[0].Source != "192.0.2.3" {
		t.Errorf("the next minute: %+v", next)
	}
	u.Return(next)
	if again := u.Take(at.Add(70 * time.Second)); len(again) != 1 || again[0] != next[0] {
		t.Errorf("what was returned: %+v", again)
	}
	for i := range api.MaxKeyUses + 1 {
		u.Note(fmt.Sprint(i), "", at.Add(3*time.Minute))
	}
	if a, b := len(u.Take(at.Add(3*time.Minute))), len(u.Take(at.Add(3*time.Minute))); a != api.MaxKeyUses || b != 1 {
		t.Errorf("%d, then %d", a, b)
	}
}
