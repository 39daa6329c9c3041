package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what people may ask for.
const (
	MaxUID           = 63
	MaxReplicas      = 1024
	MaxNameBytes     = 512
	MaxPathBytes     = 4096
	MaxRevisionBytes = 255
	MaxPatternBytes  = 1024
	MaxLabels        = 64
	MaxLabelBytes    = 256
	MaxFiles         = 64
	MaxLoRA          = 64
	MaxTensorSize    = 1024
	MaxModelTokens   = 1 << 26
)

// problems collects what is wrong with a document, so that people see all of it at once.
type problems []Field

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, Field{field, fmt.Sprintf(format, args...)})
}

func (p problems) err(what string) error {
	if len(p) == 0 {
		return nil
	}
	var parts []string
	for _, f := range p {
		parts = append(parts, f.Field+" "+f.Reason)
	}
	code := CodeInvalidRequest
	if len(p) == 1 && p[0].Field == "model_uid" {
		code = CodeInvalidUID
	}
	return &Error{Code: code, Message: what + ": " + strings.Join(parts, "; "), Details: p}
}

// Validate tells what is wrong with a spec that a person wrote, or nil.
func (s *ModelSpec) Validate() error {
	var p problems
	if !KnownUID(s.ModelUID) {
		p.add("model_uid", "%q is not a legal uid: use a-z, 0-9 and \"-\", start with a letter or digit, at most %d characters",
			clip(s.ModelUID), MaxUID)
	}
	s.check(&p)
	return p.err("the model is not valid")
}

// check is Validate but for the uid.
func (s *ModelSpec) check(p *problems) {
	checkName(p, s.ModelSource, s.ModelName)
	switch s.ModelSource {
	case SourceHuggingFace, SourceModelScope, SourceLocal:
		checkPath(p, s.ModelSource, s.ModelPath)
	default:
		p.add("model_source", "%q is unknown: use hugging_face, model_scope or local", clip(string(s.ModelSource)))
	}
	if s.EngineType != "" && !slices.Contains(Engines(), CanonicalEngine(s.EngineType)) {
		p.add("engine_type", "%q is unknown: use one of %s", clip(s.EngineType), strings.Join(Engines(), ", "))
	}
	if s.DockerImage != "" {
		p.add("docker_image", "is not supported yet: engines run as processes; leave it out")
	}
	checkRevision(p, s.Revision)
	checkLabels(p, s.Labels)
	checkFiles(p, s.Files)
	checkTokenSecret(p, s)
	s.Config.check(p, "config")
	if s.Config != nil && len(s.Config.Unset) > 0 {
		p.add("config.unset", "is for config_overrides, which lie over a model's own config: leave the fields out instead")
	}
}

// Validate tells what is wrong with a deployment that a person wrote, or nil.
func (d *ModelDeployment) Validate() error {
	var p problems
	switch d.DesiredState {
	case DesiredRunning, DesiredStopped:
	default:
		p.add("desired_state", "%q is neither running nor stopped", clip(string(d.DesiredState)))
	}
	none := d.Replicas == 0 && d.DesiredState == DesiredStopped // so the existing Nebula stores a stop
	if !none && (d.Replicas < 1 || d.Replicas > MaxReplicas) {
		p.add("replicas", "must be between 1 and %d, not %d; to run none, stop the model", MaxReplicas, d.Replicas)
	}
	checkBounds(&p, d)
	if d.NodeAffinity != "" && !ValidNodeID(d.NodeAffinity) {
		p.add("node_id", "%q is not a legal node name", clip(d.NodeAffinity))
	}
	seen := map[uint32]bool{}
	for _, g := range d.GPUAffinity {
		if seen[g] || g > 1023 {
			p.add("gpu_indices", "must be distinct indices below 1024")
			break
		}
		seen[g] = true
	}
	d.ConfigOverrides.check(&p, "config_overrides")
	return p.err("the deployment is not valid")
}

// checkBounds checks the limits of the number of replicas.
func checkBounds(p *problems, d *ModelDeployment) {
	if v := d.MinReplicas; v != nil && (*v < 1 || *v > MaxReplicas) {
		p.add("min_replicas", "must be between 1 and %d, not %d", MaxReplicas, *v)
	}
	if v := d.MaxReplicas; v != nil && (*v < 1 || *v > MaxReplicas) {
		p.add("max_replicas", "must be between 1 and %d, not %d", MaxReplicas, *v)
	}
	if d.MinReplicas != nil && d.MaxReplicas != nil && *d.MinReplicas > *d.MaxReplicas {
		p.add("min_replicas", "is %d and more than max_replicas, %d", *d.MinReplicas, *d.MaxReplicas)
	}
}

func (c *ModelConfig) check(p *problems, at string) {
	if c == nil {
		return
	}
	if v := c.TensorParallelSize; v != nil && (*v < 1 || *v > MaxTensorSize) {
		p.add(at+".tensor_parallel_size", "must be between 1 and %d", MaxTensorSize)
	}
	if v := c.GPUMemoryUtilization; v != nil && !(*v > 0 && *v <= 1) {
		p.add(at+".gpu_memory_utilization", "must be above 0 and at most 1")
	}
	if v := c.MaxModelLen; v != nil && (*v < 1 || *v > MaxModelTokens) {
		p.add(at+".max_model_len", "must be between 1 and %d tokens", MaxModelTokens)
	}
	if v := c.RequiredVRAMMB; v != nil && *v > 1<<30 {
		p.add(at+".required_vram_mb", "is more than any GPU has")
	}
	checkLoRA(p, at+".lora_modules", c.LoRAModules)
	if n := len(ConfigFields()); len(c.Unset) > n {
		p.add(at+".unset", "must be at most %d names, not %d", n, len(c.Unset))
		return
	}
	for _, name := range c.Unset {
		switch {
		case !slices.Contains(ConfigFields(), name):
			p.add(at+".unset", "%q is no field of a config: use one of %s", clip(name), strings.Join(ConfigFields(), ", "))
		case c.has(name):
			p.add(at+".unset", "%q is set in the same config: set it or unset it", name)
		}
	}
}

// checkLoRA takes what the engines take: NAME=/path or /path.
func checkLoRA(p *problems, field string, modules []string) {
	if len(modules) > MaxLoRA {
		p.add(field, "must be at most %d, not %d", MaxLoRA, len(modules))
		return
	}
	for _, m := range modules {
		_, file, named := strings.Cut(m, "=")
		if !named {
			file = m
		}
		switch fault := textFault(m, MaxPathBytes); {
		case fault != "":
			p.add(field, "entry %q %s", clip(m), fault)
		case !strings.HasPrefix(file, "/") || hasDotDot(file) || strings.HasPrefix(m, "-") || strings.Contains(m, ","):
			p.add(field, "entry %q must be NAME=/absolute/path or /absolute/path on the node, without \",\" and \"..\"", clip(m))
		}
	}
}

func checkName(p *problems, source ModelSource, name string) {
	if strings.TrimSpace(name) == "" {
		p.add("model_name", "must not be empty")
		return
	}
	switch fault := textFault(name, MaxNameBytes); {
	case fault != "":
		p.add("model_name", "%s", fault)
	case strings.HasPrefix(name, "-"):
		p.add("model_name", "must not start with \"-\"")
	case hasDotDot(name):
		p.add("model_name", "must not contain \"..\" as a path part")
	case (source == SourceHuggingFace || source == SourceModelScope) && !validRepoID(name):
		p.add("model_name", "%q is not a repository name: use NAME or OWNER/NAME with letters, digits, \".\", \"_\" and \"-\"", clip(name))
	}
}

// validRepoID applies the Hub's grammar: at most one "/", parts of [A-Za-z0-9._-] that start and end on a word
// character, no "--" or "..", not ending in .git.
func validRepoID(name string) bool {
	parts := strings.Split(name, "/")
	if len(parts) > 2 || strings.Contains(name, "--") || strings.Contains(name, "..") || strings.HasSuffix(name, ".git") {
		return false
	}
	for _, part := range parts {
		if !validSegment(part, 96) || strings.HasSuffix(part, ".") || strings.HasSuffix(part, "-") {
			return false
		}
	}
	return true
}

// checkPath takes an absolute path without "..": a local model needs one, the others may name a root for their files.
func checkPath(p *problems, source ModelSource, path string) {
	switch fault := textFault(path, MaxPathBytes); {
	case path == "" && source == SourceLocal:
		p.add("model_path", "is needed for a local model: the absolute path of a GGUF file or a model folder on the node")
	case path == "":
	case fault != "":
		p.add("model_path", "%s", fault)
	case !strings.HasPrefix(path, "/"):
		p.add("model_path", "must be absolute, because the node opens it: %q does not start with \"/\"", clip(path))
	case hasDotDot(path):
		p.add("model_path", "must not contain \"..\"")
	}
}

// checkRevision applies the rules of git for the names of branches and tags, as far as they matter in a URL and as the
// path of a file.
func checkRevision(p *problems, rev string) {
	if rev == "" {
		return
	}
	if fault := textFault(rev, MaxRevisionBytes); fault != "" {
		p.add("revision", "%s", fault)
		return
	}
	bad := strings.Contains(rev, "..") || strings.ContainsAny(rev, " ~^:?*[\\")
	for part := range strings.SplitSeq(rev, "/") {
		bad = bad || part == "" || part[0] == '.' || part[0] == '-'
	}
	if bad {
		p.add("revision", "%q is not a branch, tag or commit: no part between \"/\" may be empty or start with \".\" or \"-\", "+
			"and no \"..\", space or any of ~^:?*[\\ is allowed", clip(rev))
	}
}

func hasDotDot(path string) bool {
	for part := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == ".." {
			return true
		}
	}
	return false
}

// textFault finds what no name or path needs and logs, terminals and argument lists suffer from.
func textFault(s string, limit int) string {
	switch {
	case len(s) > limit:
		return fmt.Sprintf("is %d bytes long; at most %d", len(s), limit)
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }):
		return "must not contain control characters"
	}
	return ""
}

func checkLabels(p *problems, labels map[string]string) {
	if len(labels) > MaxLabels {
		p.add("labels", "must be at most %d, not %d", MaxLabels, len(labels))
		return
	}
	for _, k := range slices.Sorted(maps.Keys(labels)) { // one request, one answer
		if k == "" || strings.ContainsAny(k, "=, ") {
			p.add("labels", "key %q must not be empty or contain \"=\", \",\" or a space", clip(k))
		}
		if fault := textFault(k, MaxLabelBytes); fault != "" {
			p.add("labels", "key %q %s", clip(k), fault)
		}
		if fault := textFault(labels[k], MaxLabelBytes); fault != "" {
			p.add("labels", "the value of %q %s", clip(k), fault)
		}
	}
}

func checkFiles(p *problems, files []string) {
	if len(files) > MaxFiles {
		p.add("files", "must be at most %d patterns, not %d", MaxFiles, len(files))
		return
	}
	for _, f := range files {
		switch fault := textFault(f, MaxPatternBytes); {
		case fault != "":
			p.add("files", "pattern %q %s", clip(f), fault)
		case f == "" || strings.HasPrefix(f, "/") || hasDotDot(f):
			p.add("files", "pattern %q must be relative and must not contain \"..\"", clip(f))
		}
	}
}

func checkTokenSecret(p *problems, s *ModelSpec) {
	switch {
	case s.TokenSecret == "":
	case !ValidSecretName(s.TokenSecret):
		p.add("token_secret", "%q is not the name of a secret: name one of nebula secret list", clip(s.TokenSecret))
	case s.ModelSource == SourceLocal:
		p.add("token_secret", "is of no use for a local model, which is fetched from nowhere: leave it out")
	}
}

// maxEcho bounds, in bytes, what a message repeats of one piece of input.
const maxEcho = 80

// WithoutUser hides what people have written before the host of a URL: it may hold a password.
func WithoutUser(address string) string {
	scheme, rest, ok := strings.Cut(address, "://")
	if at := strings.LastIndex(rest, "@"); ok && at >= 0 {
		return scheme + "://…@" + rest[at+1:]
	}
	return address
}

// clip shortens hostile input for a message, and leaves out what may be a password in it.
func clip(s string) string {
	s = WithoutUser(s)
	if len(s) <= maxEcho {
		return s
	}
	end := maxEcho
	for end > maxEcho-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
