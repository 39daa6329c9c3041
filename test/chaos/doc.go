// Package chaos breaks a running Nebula, one fault for each row of the reliability table, and holds it to its promises: real processes on hosts
// of their own, real etcd, a real engine, and clients that say of every request how it ended. Its tests have the build tag chaos:
// "make test-chaos" runs the short lane, "make test-chaos-full" all rows.
//
// Each row is a test that is named after it, TestF07_...; a row of which a part needs minutes has that part in the full lane. Every row ends with
// the invariants: no reply was cut silently, no engine is without an owner, no acknowledged write is missing. A row with too little
// traffic is invalid, and that is a failure. Rows assert what happened; how long it took they log, and compare only with generous bounds.
package chaos
