// Package peer lets the nodes of a cluster get a model's large files from each other, so that each file crosses the way to its hub once.
//
// Servers only tell who fetches what; the bytes go from node to node, and a node never needs a server or another node to get a file: it
// goes to the hub by itself when they are away, slow, or of no use. What comes from another node is trusted as little as what comes from a
// hub: whoever reads it checks its hash.
package peer
