// Package pki is the cluster's own certificate authority and what machines hold of it: identities, credentials that renew
// themselves, TLS settings, join tokens and signatures over snapshots. It speaks no protocol and reads no store.
//
// One machine has one credential per role: a key that never leaves it and a certificate that lives a day. Whether a credential still counts
// is not decided here but by the cluster's members: see api.Member.
package pki
