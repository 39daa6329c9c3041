package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// hubOptions are those of a machine that fetches models, before the variables of the hubs' own tools are looked at.
type hubOptions struct {
	faceTokenFile, scopeTokenFile string
	rate                          string
}

// searches adds the options of a machine that searches hubs and fetches nothing.
func (r *runner) searches(f *pflag.FlagSet) {
	f.StringVar(&r.o.Running.HFEndpoint, "hf-endpoint", "https://huggingface.co", "Hugging Face or a mirror of it")
	f.StringVar(&r.o.Running.ScopeEndpoint, "modelscope-endpoint", "https://modelscope.cn", "ModelScope or a mirror of it")
	f.BoolVar(&r.o.Running.Offline, "offline", false, "never ask a hub")
	_ = f.SetAnnotation("hf-endpoint", alsoEnv, []string{"HF_ENDPOINT"}) // the flags were just made: it cannot fail
	_ = f.SetAnnotation("modelscope-endpoint", alsoEnv, []string{"MODELSCOPE_ENDPOINT"})
}

func (r *runner) downloads(f *pflag.FlagSet) {
	r.searches(f)
	n, h := &r.o.Running, &r.hubs
	f.Lookup("offline").Usage = "never ask a hub: only models that are complete on this machine start"
	f.StringVar(&n.ModelDir, "model-dir", "", "where downloaded models are kept (default: models in the data directory)")
	f.StringVar(&h.faceTokenFile, "hf-token-file", "", "file with a Hugging Face token, for gated models")
	f.StringVar(&h.scopeTokenFile, "modelscope-token-file", "", "file with a ModelScope token, for private models")
	f.StringSliceVar(&n.LocalRoots, "local-root", nil, "folder that local models must be in; may be given several times (default: anywhere)")
	f.StringVar(&h.rate, "download-rate", "", "most bytes per second from hubs, such as 50MB or 2.5MiB (default: no limit)")
	f.IntVar(&n.Connections, "download-connections", 16, "most connections to one hub, 1 to 32")
}

// readHubs fills in what the hubs' own tools take from the environment.
func (r *runner) readHubs(flags *pflag.FlagSet, getenv func(string) string) error {
	n, h := &r.o.Running, r.hubs
	if flags.Lookup("offline") == nil { // this command asks no hub
		return nil
	}
	if !flags.Changed("offline") {
		n.Offline = isOn(getenv("HF_HUB_OFFLINE")) || isOn(getenv("TRANSFORMERS_OFFLINE"))
	}
	if domain := getenv("MODELSCOPE_DOMAIN"); domain != "" && !flags.Changed("modelscope-endpoint") {
		n.ScopeEndpoint = withScheme(domain)
	}
	if flags.Lookup("model-dir") == nil { // it fetches nothing
		return nil
	}
	if n.Connections < 1 || n.Connections > 32 {
		return usagef("--download-connections is %d: use 1 to 32", n.Connections)
	}
	n.AdoptFrom = append(faceCaches(getenv), scopeCaches(getenv)...)
	for _, root := range n.LocalRoots {
		if !filepath.IsAbs(root) {
			return usagef("--local-root %q is not an absolute path", root)
		}
	}
	var err error
	if n.BytesPerSecond, err = parseRate(h.rate); err != nil {
		return err
	}
	if n.HFToken, err = faceToken(h.faceTokenFile, getenv); err != nil {
		return err
	}
	n.ScopeToken = strings.TrimSpace(getenv("MODELSCOPE_API_TOKEN"))
	if h.scopeTokenFile != "" {
		n.ScopeToken, err = readSecret(h.scopeTokenFile)
	}
	return err
}

func withScheme(domain string) string {
	if strings.Contains(domain, "://") {
		return domain
	}
	return "https://" + domain
}

// isOn reads a switch as Hugging Face's tools do.
func isOn(v string) bool {
	switch strings.ToUpper(v) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

// faceToken finds the token for Hugging Face.
//
// The first of these that there is:
//  1. The file that an option names; it must be readable.
//  2. HF_TOKEN, or its older name.
//  3. The file that Hugging Face's tools keep: HF_TOKEN_PATH, or token in HF_HOME.
//
// HF_HUB_DISABLE_IMPLICIT_TOKEN leaves only 1.
func faceToken(file string, getenv func(string) string) (string, error) {
	if file != "" { // 1
		return readSecret(file)
	}
	if isOn(getenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
		return "", nil
	}
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} { // 2
		if v := strings.TrimSpace(getenv(name)); v != "" {
			return v, nil
		}
	}
	path := getenv("HF_TOKEN_PATH") // 3
	if path == "" {
		home := faceHome(getenv)
		if home == "" {
			return "", nil
		}
		path = filepath.Join(home, "token")
	}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", usagef("read the token: %w; or set HF_HUB_DISABLE_IMPLICIT_TOKEN=1 to do without it", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// faceHome is where Hugging Face's tools keep their things; empty when that cannot be known.
func faceHome(getenv func(string) string) string {
	if v := getenv("HF_HOME"); v != "" {
		return v
	}
	if v := getenv("XDG_CACHE_HOME"); v != "" {
		return filepath.Join(v, "huggingface")
	}
	if v := getenv("HOME"); v != "" {
		return filepath.Join(v, ".cache", "huggingface")
	}
	return ""
}

// faceCaches are the folders in which Hugging Face's tools keep models here: the one that the environment names, else the usual one.
func faceCaches(getenv func(string) string) []string {
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"} {
		if v := getenv(name); filepath.IsAbs(v) {
			return []string{filepath.Clean(v)}
		}
	}
	if home := faceHome(getenv); filepath.IsAbs(home) {
		return []string{filepath.Join(home, "hub")}
	}
	return nil
}

// units of a rate, in bytes.
var units = map[string]float64{
	"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "K": 1e3, "M": 1e6, "G": 1e9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30,
}

// parseRate reads bytes per second, with or without a unit and "/s"; empty and 0 mean no limit.
func parseRate(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	v := strings.TrimSuffix(strings.ToUpper(strings.ReplaceAll(text, " ", "")), "/S")
	end := strings.IndexFunc(v, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end < 0 {
		end = len(v)
	}
	n, err := strconv.ParseFloat(v[:end], 64)
	unit, ok := units[v[end:]]
	if err != nil || !ok || n*unit > 1e15 || n > 0 && n*unit < 1 {
		return 0, usagef("--download-rate %q is no rate: use bytes per second such as 50MB, 2.5MiB or 800k", text)
	}
	return uint64(n * unit), nil
}

// scopeCaches are the folders in which ModelScope's tools keep models here.
func scopeCaches(getenv func(string) string) []string {
	if v := getenv("MODELSCOPE_CACHE"); filepath.IsAbs(v) {
		return []string{filepath.Clean(v)}
	}
	if v := getenv("HOME"); filepath.IsAbs(v) {
		return []string{filepath.Join(v, ".cache", "modelscope")}
	}
	return nil
}
