// Package modelfiles brings a model's files to this node and knows what is there: it chooses the files an engine needs
// (manifest, pure), fetches them from a hub (hub) or finds them on disk, verifies every byte while writing it, publishes
// them in the hub's own cache layout, and reports the cache and its disk. What goes wrong is said in words for people
// (fail).
//
// What holds always: nothing appears under blobs/ or snapshots/ that was not verified; a file that is on the node is not
// fetched again, after kill -9 neither; a credential goes to the exact scheme, host and port it was given for. It deletes
// no model that is held, pinned or wanted here, never touches a local one, reads no environment variable, starts no process and knows no cluster:
// progress leaves through a callback.
package modelfiles
