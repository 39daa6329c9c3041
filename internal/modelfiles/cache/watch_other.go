//go:build !linux

package cache

import "errors"

// Watcher does not exist elsewhere than on Linux: there the scan at the minute sees all changes.
type Watcher struct{}

// NewWatcher fails.
func NewWatcher() (*Watcher, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (w *Watcher) Close() error { return nil }

// Watch watches nothing.
func (w *Watcher) Watch([]string) bool { return false }

// Next fails.
func (w *Watcher) Next() ([]string, error) { return nil, errors.ErrUnsupported }
