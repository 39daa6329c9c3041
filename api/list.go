package api

import "encoding/json"

// List is a slice that a stored document always holds: nil is written as [], because readers take no null there.
type List[T any] []T

// MarshalJSON never writes null.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// Counts say how many there are of each. They are written as {} when there are none of any.
type Counts[K ~string] map[K]int

// MarshalJSON never writes null.
func (c Counts[K]) MarshalJSON() ([]byte, error) {
	if c == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[K]int(c))
}

// Labels are people's own marks on a model. They are written as {} when there are none.
type Labels map[string]string

// MarshalJSON never writes null.
func (l Labels) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]string(l))
}
