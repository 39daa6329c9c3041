package api

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what people may ask for.
const (
	MaxUID         = 63
	MaxReplicas    = 1024
	MaxNameBytes   = 512
	MaxPathBytes   = 4096
	MaxLabels      = 64
	MaxLabelBytes  = 256
	MaxFiles       = 64
	MaxTensorSize  = 1024
	MaxModelTokens = 1 << 26
)

// ValidUID applies the rule for new models: [a-z0-9][a-z0-9-]*, at most 63 bytes.
func ValidUID(uid string) bool {
	if uid == "" || len(uid) > MaxUID || uid[0] == '-' {
		return false
	}
	for i := range len(uid) {
		if c := uid[i]; !lowerAlnum(c) && c != '-' {
			return false
		}
	}
	return true
}

// KnownUID applies the wider rule for models that exist already: [A-Za-z0-9][A-Za-z0-9._-]*, at most 63 bytes.
// A key segment that fails it never reaches the store.
func KnownUID(uid string) bool { return validSegment(uid, MaxUID) }

// ValidNodeID applies the rule for node names, which is that of [KnownUID] with up to 253 bytes.
func ValidNodeID(id string) bool { return validSegment(id, 253) }

func validSegment(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := lowerAlnum(c) || 'A' <= c && c <= 'Z'
		if !alnum && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return true
}

func lowerAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// DeriveUID makes a uid of a model's name: lower case, every other byte a "-", runs collapsed, cut to 63 bytes.
// It is empty when nothing of the name is left.
func DeriveUID(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		switch {
		case lowerAlnum(c):
			b.WriteByte(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.TrimRight(b.String()[:min(b.Len(), MaxUID)], "-")
}

// SuffixUID returns uid with "-n" at its end, shortened so that it stays legal.
func SuffixUID(uid string, n int) string {
	suffix := fmt.Sprintf("-%d", n)
	return strings.TrimRight(uid[:min(len(uid), MaxUID-len(suffix))], "-") + suffix
}

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
	checkName(&p, s.ModelSource, s.ModelName)
	switch s.ModelSource {
	case SourceHuggingFace, SourceModelScope:
		if s.ModelPath != "" {
			checkText(&p, "model_path", s.ModelPath, MaxPathBytes)
		}
	case SourceLocal:
		if s.ModelPath == "" {
			p.add("model_path", "is needed for a local model: the absolute path of a GGUF file or a model folder on the node")
		} else {
			checkLocalPath(&p, s.ModelPath)
		}
	default:
		p.add("model_source", "%q is unknown: use huggingface, modelscope or local", clip(string(s.ModelSource)))
	}
	if s.EngineType != "" && !knownEngine(s.EngineType) {
		p.add("engine_type", "%q is unknown: use one of %s", clip(s.EngineType), strings.Join(Engines(), ", "))
	}
	if s.DockerImage != "" {
		p.add("docker_image", "is not supported yet: engines run as processes; leave it out")
	}
	if s.Revision != "" {
		checkText(&p, "revision", s.Revision, 255)
		if strings.Contains(s.Revision, "..") || strings.HasPrefix(s.Revision, "-") {
			p.add("revision", "must not contain \"..\" or start with \"-\"")
		}
	}
	checkLabels(&p, s.Labels)
	checkFiles(&p, s.Files)
	s.Config.check(&p, "config")
	return p.err("the model is not valid")
}

// Validate tells what is wrong with a deployment that a person wrote, or nil.
func (d *ModelDeployment) Validate() error {
	var p problems
	if d.Replicas < 1 || d.Replicas > MaxReplicas {
		p.add("replicas", "must be between 1 and %d, not %d; to run none, stop the model", MaxReplicas, d.Replicas)
	}
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
	if len(c.LoRAModules) > 64 {
		p.add(at+".lora_modules", "at most 64")
	}
	for _, l := range c.LoRAModules {
		checkText(p, at+".lora_modules", l, MaxPathBytes)
		if strings.HasPrefix(l, "-") || strings.Contains(l, ",") {
			p.add(at+".lora_modules", "entries must not start with \"-\" or contain \",\"")
		}
	}
}

func checkName(p *problems, source ModelSource, name string) {
	if strings.TrimSpace(name) == "" {
		p.add("model_name", "must not be empty")
		return
	}
	checkText(p, "model_name", name, MaxNameBytes)
	switch {
	case strings.HasPrefix(name, "-"):
		p.add("model_name", "must not start with \"-\"")
	case hasDotDot(name):
		p.add("model_name", "must not contain \"..\" as a path part")
	case source != SourceLocal && source != "" && !validRepoID(name):
		p.add("model_name", "%q is not a repository name: use NAME or OWNER/NAME with letters, digits, \".\", \"_\" and \"-\"", clip(name))
	}
}

// validRepoID applies the Hub's grammar: at most one "/", parts of [A-Za-z0-9._-] that start and end on a word
// character, no "--" or "..", not ending in .git (modelfiles.md section 1).
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

func checkLocalPath(p *problems, path string) {
	checkText(p, "model_path", path, MaxPathBytes)
	switch {
	case !strings.HasPrefix(path, "/"):
		p.add("model_path", "must be absolute, because the node opens it: %q does not start with \"/\"", clip(path))
	case hasDotDot(path):
		p.add("model_path", "must not contain \"..\"")
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

// checkText refuses what no name or path needs and logs, terminals and argument lists suffer from.
func checkText(p *problems, field, s string, limit int) {
	switch {
	case len(s) > limit:
		p.add(field, "is %d bytes long; at most %d", len(s), limit)
	case !utf8.ValidString(s):
		p.add(field, "is not valid UTF-8")
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }):
		p.add(field, "must not contain control characters")
	}
}

func checkLabels(p *problems, labels map[string]string) {
	if len(labels) > MaxLabels {
		p.add("labels", "at most %d", MaxLabels)
		return
	}
	for k, v := range labels {
		if k == "" || strings.ContainsAny(k, "=, ") {
			p.add("labels", "key %q must not be empty or contain \"=\", \",\" or a space", clip(k))
		}
		checkText(p, "labels", k, MaxLabelBytes)
		checkText(p, "labels", v, MaxLabelBytes)
	}
}

func checkFiles(p *problems, files []string) {
	if len(files) > MaxFiles {
		p.add("files", "at most %d patterns", MaxFiles)
		return
	}
	for _, f := range files {
		checkText(p, "files", f, 1024)
		if f == "" || strings.HasPrefix(f, "/") || hasDotDot(f) {
			p.add("files", "pattern %q must be relative and must not contain \"..\"", clip(f))
		}
	}
}

func knownEngine(name string) bool {
	c := CanonicalEngine(name)
	for _, e := range Engines() {
		if e == c {
			return true
		}
	}
	return false
}

// clip shortens hostile input for a message.
func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:80], "") + "…"
}
