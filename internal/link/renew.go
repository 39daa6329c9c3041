package link

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/pki"
)

const (
	// renewLook bounds how long the clock is not looked at: it follows the servers', and may step.
	renewLook = time.Minute
	// A renewal that failed is tried again after renewFirst, then ever more seldom.
	renewFirst = 5 * time.Second
	renewLast  = 5 * time.Minute
)

// RenewConfig is what Renew needs. *Servers is an Issuer.
type RenewConfig struct {
	Credential *pki.Credential
	Clock      *pki.Clock
	Servers    Issuer
	Log        *slog.Logger
}

// Issuer asks any server.
type Issuer interface {
	JSON(ctx context.Context, method, path string, in, out any) error
	Learn(addrs []string)
}

// Renew gets the next certificate of a machine whenever two thirds of the present one's life are over, until ctx ends. It never gives up,
// and its failures end nothing: a third of a life is left for the servers to come back, and after that the engines still run.
func Renew(ctx context.Context, cfg RenewConfig) error {
	early := rand.Float64() // machines that joined together part ways
	for {
		wait := dueIn(cfg, early)
		if wait <= 0 {
			renewUntilDone(ctx, cfg)
			wait = 0
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(wait, renewLook)):
		}
	}
}

// dueIn is the time until the next renewal, which comes up to a twelfth of the certificate's life early.
func dueIn(cfg RenewConfig, early float64) time.Duration {
	at := cfg.Credential.RenewAt()
	left := cfg.Credential.NotAfter().Sub(at)
	return at.Add(-time.Duration(early * float64(left) / 4)).Sub(cfg.Clock.Now())
}

func renewUntilDone(ctx context.Context, cfg RenewConfig) {
	told := api.Code("none")
	for pause := renewFirst; ctx.Err() == nil; pause = min(2*pause, renewLast) {
		err := renewOnce(ctx, cfg)
		if err == nil {
			cfg.Log.Info("certificate renewed", "valid_until", cfg.Credential.NotAfter().UTC())
			return
		}
		if code := troubleCode(err); code != told && ctx.Err() == nil { // once for each kind of trouble, however long it lasts
			told = code
			complain(cfg, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
	}
}

// troubleCode tells kinds of trouble apart.
func troubleCode(err error) api.Code {
	if e, ok := api.AsError(err); ok {
		return e.Code
	}
	return ""
}

func complain(cfg RenewConfig, err error) {
	id := cfg.Credential.Identity()
	if api.HasCode(err, api.CodeUnauthorized) {
		cfg.Log.Error("the cluster does not know this machine any more; what runs goes on", "role", id.Role, "id", id.ID, "error", err)
		return
	}
	cfg.Log.Warn("the certificate is not renewed yet, and is tried again", "valid_until", cfg.Credential.NotAfter().UTC(), "error", err)
}

func renewOnce(ctx context.Context, cfg RenewConfig) error {
	csr, err := cfg.Credential.Request()
	if err != nil {
		return err
	}
	var res api.RenewResponse
	if err := cfg.Servers.JSON(ctx, http.MethodPost, "/api/v2/renew", api.RenewRequest{CSR: csr}, &res); err != nil {
		return err
	}
	cfg.Servers.Learn(res.Servers)
	return cfg.Credential.Renewed(res.Cert)
}
