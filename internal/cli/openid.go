package cli

import (
	"crypto/x509"
	"os"

	"github.com/spf13/pflag"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/openid"
)

// loginOptions are those of the OpenID provider that are not as the app wants them yet.
type loginOptions struct {
	secretFile, caFile, otherwise string
	roles                         []string
}

func (r *runner) openID(f *pflag.FlagSet) {
	o := &r.o.OpenID
	f.StringVar(&o.Issuer, "oidc-issuer", "", "URL of the OpenID provider where people may log in, too (default: none)")
	f.StringVar(&o.ClientID, "oidc-client-id", "", "what that provider calls this server")
	f.StringVar(&r.login.secretFile, "oidc-client-secret-file", "", "file with the secret that the provider knows this server by")
	f.StringVar(&r.login.caFile, "oidc-ca-file", "", "PEM file with the certificates that the provider's own has to come from (default: those that this machine trusts)")
	f.StringSliceVar(&o.Scopes, "oidc-scopes", []string{"profile", "email"}, "what to ask the provider for, beside openid")
	f.StringVar(&o.RoleClaim, "oidc-role-claim", "groups", "the provider's claim that roles go by; dots lead into objects, as in realm_access.roles")
	f.StringSliceVar(&r.login.roles, "oidc-role-map", nil, "which value of that claim means which role, for example admin=platform-team,viewer=staff; the highest counts")
	f.StringVar(&r.login.otherwise, "oidc-default-role", "", "role of those who have none of these values (default: they may not log in)")
	f.StringVar(&o.PublicURL, "public-url", "", "how browsers call this server, for example https://nebula.example.com (default: as each of them does)")
}

// readLogin reads what was given of the OpenID provider.
func (r *runner) readLogin() error {
	o, err := &r.o.OpenID, error(nil)
	if o.Issuer == "" {
		return nil
	}
	if o.Roles, err = openid.ParseRoles(r.login.roles); err != nil {
		return usagef("--oidc-role-map: %w", err)
	}
	o.Otherwise = api.Role(r.login.otherwise)
	if o.Roots, err = loginRoots(r.login.caFile); err != nil {
		return err
	}
	if r.login.secretFile == "" {
		return nil
	}
	secret, err := readSecret(r.login.secretFile)
	if err != nil {
		return usagef("--oidc-client-secret-file: %w", err)
	}
	o.ClientSecret = api.Token(secret)
	return nil
}

// loginRoots reads the authorities of the provider's certificate; none without a file.
func loginRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, usagef("--oidc-ca-file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, usagef("--oidc-ca-file: %s holds no certificate: give the authority's certificate as a PEM file, with -----BEGIN CERTIFICATE----- in it", file)
	}
	return roots, nil
}
