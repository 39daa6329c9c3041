// Package oidc tests the login at an OpenID provider: nebula server as its own process, and a real provider, zitadel/oidc, whose answers can be
// falsified on the way. It is a module of its own, so that what the provider needs is not among Nebula's dependencies.
package oidc
