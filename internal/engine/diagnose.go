package engine

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// rank orders signatures: an engine that fails says it in several lines, and only one of them is the cause.
type rank int

const (
	specific rank = iota // explains what would look like another cause (a broken adapter is no broken model)
	cause                // of these, the first in the log wins
	wrapper              // says only that something failed
)

// signature is a line by which a failure is known. Groups of the pattern fill $1, $2 … of say.
type signature struct {
	rank    rank
	pattern *regexp.Regexp
	code    api.FailureCode
	final   bool
	served  bool // also explains the end of an engine that served
	say     string
}

// Diagnose reads from an engine's last log lines and its exit why it ended. What it does not know is an engine_crash that
// quotes the last meaningful line, with secrets masked.
//
// Branches, in order:
//  1. It could not be started.
//  2. The kernel killed it for memory.
//  3. The first line with the highest-ranking signature.
//  4. A signal that Nebula did not send.
//  5. Nobody saw how it ended.
//  6. It ended with a status.
func Diagnose(kind string, tail []string, exit Exit) Failure {
	switch {
	case exit.Error != "": // 1
		return StartFailure(kind, "", exit.Error)
	case exit.OOM: // 2
		return Failure{Code: api.FailOutOfMemory, Message: "the machine ran out of memory and the kernel killed the engine: " +
			"lower max_model_len, stop another model or use a smaller quantization"}
	}
	if f, ok := match(kind, tail, exit); ok { // 3
		return f
	}
	f := Failure{Code: api.FailEngineCrash}
	switch { // 4, 5, 6
	case exit.Unknown:
		f.Message = "the engine is gone and nobody saw how it ended (its machine restarted, or its watcher was killed)"
	case exit.Signal > 0:
		f.Message = fmt.Sprintf("the engine was ended by signal %s", signalName(exit.Signal))
		if exit.Signal == 9 {
			f.Message += ", sent from outside Nebula"
		}
	default:
		f.Message = fmt.Sprintf("the engine ended with status %d", exit.Code)
	}
	if line := lastMeaningful(tail); line != "" {
		f.Message += ", its last message: " + line
	}
	return f
}

// match finds the signature that explains the log best.
func match(kind string, tail []string, exit Exit) (Failure, bool) {
	var best *signature
	var groups []int
	var at string
	sigs := signaturesOf(kind)
	for _, line := range tail {
		if quotesClient(line) {
			continue
		}
		for i := range sigs {
			s := &sigs[i]
			if best != nil && s.rank >= best.rank || exit.Served && !s.served {
				continue
			}
			if m := s.pattern.FindStringSubmatchIndex(line); m != nil {
				best, groups, at = s, m, line
			}
		}
	}
	if best == nil {
		return Failure{}, false
	}
	text := string(best.pattern.ExpandString(nil, best.say, at, groups))
	return Failure{Code: best.code, Message: Mask(text), Final: best.final && !exit.Served}, true
}

// StartFailure says why an executable could not be started; cause is the operating system's words.
func StartFailure(kind, binary, cause string) Failure {
	if binary == "" {
		binary = strings.Join(Binaries(kind), " or ")
	}
	switch {
	case strings.Contains(cause, "no such file"):
		return Failure{Code: api.FailEngineMissing, Final: true, Message: fmt.Sprintf("%s is not on this node (or the interpreter that it names is not). %s", binary, Install(kind))}
	case strings.Contains(cause, "permission denied"):
		return Failure{Code: api.FailBadInstall, Final: true, Message: fmt.Sprintf("%s may not be executed by Nebula's user: make it executable (chmod +x), and not on a file system mounted noexec", binary)}
	case strings.Contains(cause, "exec format error"):
		return Failure{Code: api.FailBadInstall, Final: true, Message: fmt.Sprintf("%s is not a program for this machine. %s", binary, Install(kind))}
	case strings.Contains(cause, "argument list too long"):
		return Failure{Code: api.FailBadFlag, Final: true, Message: "the command line of the engine is too long: use fewer extra arguments"}
	}
	return Failure{Code: api.FailEngineCrash, Message: fmt.Sprintf("%s could not be started: %s", binary, Mask(cause))}
}

// quotesClient tells whether a line carries what a client wrote: it proves nothing, and it is nobody else's business.
func quotesClient(line string) bool { return strings.Contains(line, "Received request") }

// lastMeaningful returns the last line that says what went wrong, else the last that says anything.
func lastMeaningful(tail []string) string {
	last := ""
	for i := len(tail) - 1; i >= 0 && i >= len(tail)-200; i-- {
		line := strings.TrimSpace(tail[i])
		if line == "" || farewell.MatchString(line) || quotesClient(line) {
			continue
		}
		if errorLine.MatchString(line) {
			return Mask(cut(llamaPrefix.ReplaceAllString(line, "")))
		}
		if last == "" {
			last = line
		}
	}
	return Mask(cut(llamaPrefix.ReplaceAllString(last, "")))
}

var (
	farewell    = regexp.MustCompile(`cleaning up before exit|exiting due to|memory_breakdown|^\^*$`)
	errorLine   = regexp.MustCompile(`^[\d.]+ E |\b(?i:error|fatal|exception|assert|abort\w*)\b|\b\w+Error:`)
	llamaPrefix = regexp.MustCompile(`^[\d.]+ [A-Z] (?:\w+ +)??`)
)

func cut(s string) string {
	const limit = 300
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

var secrets = regexp.MustCompile(`(?i)\b(hf_|sk-|nvapi-|ghp_|glpat-)[A-Za-z0-9_-]{6,}|` +
	`\b(bearer[ \t]+|(?:api[_-]?key|token|password|secret|authorization)["']?[ \t]*[=:][ \t]*["']?(?:bearer[ \t]+)?)[^\s"',;]{4,}|` +
	`(://[^\s/:@]+:)[^\s/@]+@`)

// hints are in every line that the pattern of secrets matches; looking for them first makes masking a large log cheap.
var hints = []string{"hf_", "sk-", "nvapi-", "ghp_", "glpat-", "bearer", "key", "token", "password", "secret", "authorization", "://"}

// Mask hides what looks like a token, a key or a password in log lines, and keeps enough to tell which one it was.
func Mask(text string) string {
	if !suspicious(text) {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if suspicious(line) {
			line = secrets.ReplaceAllStringFunc(line, maskOne)
		}
		b.WriteString(line)
	}
	return b.String()
}

func suspicious(text string) bool {
	lower := strings.ToLower(text)
	return slices.ContainsFunc(hints, func(h string) bool { return strings.Contains(lower, h) })
}

func maskOne(m string) string {
	g := secrets.FindStringSubmatch(m)
	if g[3] != "" {
		return g[3] + "***@"
	}
	return g[1] + g[2] + "***"
}

func signalName(n int) string {
	names := map[int]string{1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL", 11: "SEGV", 13: "PIPE", 15: "TERM"}
	if s, ok := names[n]; ok {
		return s
	}
	return strconv.Itoa(n)
}
