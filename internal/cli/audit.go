package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/audit"
)

func (c *command) auditCommand() *cobra.Command {
	return group("audit", "See who did what, and verify that the record of it is whole", c.auditList(), c.auditShow(), c.auditVerify(), c.auditExport())
}

func (c *command) auditList() *cobra.Command {
	o := client.AuditOptions{Limit: 50}
	cmd := listCommand(c, listing[api.AuditRecord]{
		Short: "List what was done, newest first", Empty: "Nothing in the audit log is like that.",
		Example: "  nebula audit list --actor ann --verb model.\n  nebula audit list --result denied --from 2026-01-31T00:00:00Z\n  nebula audit list --object model/qwen -o json",
		Key:     func(r api.AuditRecord) string { return strconv.FormatUint(r.Seq, 10) },
		Fetch: func(ctx context.Context, cl *client.Client) ([]api.AuditRecord, error) {
			if o.Limit < 1 {
				return nil, usagef("--limit must be at least 1, not %d", o.Limit)
			}
			return fetchAudit(ctx, cl, o)
		},
		Columns: []column[api.AuditRecord]{
			{Title: "SEQ", Text: func(r api.AuditRecord, _ time.Time) string { return strconv.FormatUint(r.Seq, 10) }},
			{Title: "TIME", Text: func(r api.AuditRecord, _ time.Time) string { return stamp(r.TimeMS) }},
			{Title: "ACTOR", Text: func(r api.AuditRecord, _ time.Time) string { return r.Actor.ID }},
			{Title: "VERB", Text: func(r api.AuditRecord, _ time.Time) string { return r.Verb }},
			{Title: "OBJECT", Text: func(r api.AuditRecord, _ time.Time) string { return r.Object }},
			{Title: "RESULT", Text: auditResult},
			{Title: "SOURCE", Wide: true, Text: func(r api.AuditRecord, _ time.Time) string { return r.Source }},
			{Title: "REQUEST", Wide: true, Text: func(r api.AuditRecord, _ time.Time) string { return r.RequestID }},
			{Title: "CHANGES", Text: func(r api.AuditRecord, _ time.Time) string { return strconv.Itoa(len(r.Changes)) }},
		},
	})
	f := cmd.Flags()
	f.StringVar(&o.Actor, "actor", "", "only what this user, machine or key did")
	f.StringVar(&o.Verb, "verb", "", "only verbs that begin so, such as model.")
	f.StringVar(&o.Object, "object", "", "only objects that begin so, such as model/qwen")
	f.StringVar(&o.Result, "result", "", "only ok, denied or failed")
	c.completeFlag(cmd, "result", []string{api.AuditOK, api.AuditDenied, api.AuditFailed})
	f.StringVar(&o.From, "from", "", "not before this time: 2026-01-31T12:00:00Z, or milliseconds since 1970")
	f.StringVar(&o.To, "to", "", "not after this time")
	f.IntVar(&o.Limit, "limit", o.Limit, "at most so many")
	return cmd
}

// fetchAudit follows the pages until there are as many records as were asked for.
func fetchAudit(ctx context.Context, cl *client.Client, o client.AuditOptions) (all []api.AuditRecord, err error) {
	const page = 1000
	for want := o.Limit; ; {
		o.Limit = min(page, want-len(all))
		recs, next, err := cl.Audit(ctx, o)
		if err != nil {
			return nil, err
		}
		if all = append(all, recs...); next == "" || len(all) >= want {
			return all, nil
		}
		o.Cursor = next
	}
}

func auditResult(r api.AuditRecord, _ time.Time) string {
	out := r.Result
	if r.Code != "" {
		out += " (" + string(r.Code) + ")"
	}
	if r.Repeated > 0 {
		out += fmt.Sprintf(" and %d more", r.Repeated)
	}
	return out
}

// stamp is a moment for a log: in UTC, to the second.
func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05Z") }

func (c *command) auditShow() *cobra.Command {
	cmd := showCommand(c, showing[api.AuditRecord]{
		Use: "get SEQ", Short: "Show one record: what changed, from what to what", Example: "  nebula audit get 7", Arg: "the record's number",
		Fetch: func(ctx context.Context, cl *client.Client, seq string) (api.AuditRecord, error) {
			return cl.AuditRecord(ctx, seq)
		},
		Detail: func(r api.AuditRecord) error {
			lines := [][2]string{
				{"Record", strconv.FormatUint(r.Seq, 10)},
				{"Time", stamp(r.TimeMS)},
				{"Actor", r.Actor.ID + " (" + strings.TrimSpace(r.Actor.Kind+" "+r.Actor.Role) + ")"},
				{"Key", r.Actor.KeyID},
				{"Source", r.Source},
				{"Verb", r.Verb},
				{"Object", r.Object},
				{"Result", auditResult(r, time.Time{})},
				{"Request", r.RequestID},
				{"Hash", r.Hash},
			}
			for _, l := range lines {
				if l[1] == "" {
					continue
				}
				if _, err := fmt.Fprintf(c.env.Stdout, "%-9s%s\n", l[0]+":", clean(l[1])); err != nil {
					return err
				}
			}
			for _, ch := range r.Changes {
				if _, err := fmt.Fprintf(c.env.Stdout, "  %s %s: %s -> %s\n", clean(ch.Document), clean(ch.Field), shownValue(ch.Before), shownValue(ch.After)); err != nil {
					return err
				}
			}
			return nil
		},
	})
	cmd.Aliases = []string{"show"}
	return cmd
}

func shownValue(v json.RawMessage) string {
	if v == nil {
		return "-"
	}
	return clean(string(v))
}

func (c *command) auditExport() *cobra.Command {
	from := uint64(1)
	cmd := &cobra.Command{
		Use: "export", Short: "Print the whole log as it is stored, oldest first, a line of JSON each", Args: exactly(0, "no argument"),
		Example: "  nebula audit export > audit.jsonl\n  nebula audit verify --file audit.jsonl",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			out := bufio.NewWriter(c.env.Stdout)
			err = cl.ExportAudit(cmd.Context(), from, func(line []byte) error {
				_, err := out.Write(append(bytes.Clone(line), '\n'))
				return err
			})
			return errors.Join(err, out.Flush())
		},
	}
	cmd.Flags().Uint64Var(&from, "from-seq", 1, "number of the first record")
	return cmd
}

// auditVerdict is what verify prints for programs.
type auditVerdict struct {
	OK      bool     `json:"ok"`
	Records int      `json:"records"`
	First   uint64   `json:"first"`
	Last    uint64   `json:"last"`
	Hash    string   `json:"hash"`
	Problem string   `json:"problem,omitempty"`
	Renewed []uint64 `json:"renewed,omitempty"`
}

func (c *command) auditVerify() *cobra.Command {
	var file, head string
	cmd := &cobra.Command{
		Use: "verify", Short: "Recompute the log's chain here, and tell the first record that is not as it was written", Args: exactly(0, "no argument"),
		Long: "Recompute the log's chain here, from what the server sends or from an export, and tell the first record that is not as it was written.\n" +
			"Whoever can write to the store can write the whole log anew, with a chain that fits: note the SEQ:HASH that this prints at a place of its own,\n" +
			"and give it the next time.",
		Example: "  nebula audit verify\n  nebula audit verify --head 812:5f3a…\n  nebula audit verify --file audit.jsonl",
		RunE: func(cmd *cobra.Command, _ []string) error {
			check := &audit.Checker{Noted: map[uint64]string{}}
			noted, err := notedHead(head)
			if err != nil {
				return err
			}
			if noted.Seq > 0 {
				check.Noted[noted.Seq] = noted.Hash
			}
			problem, err := c.verifyAudit(cmd.Context(), check, file)
			if err != nil {
				return err
			}
			if problem == nil && noted.Seq > check.Head.Seq {
				problem = fmt.Errorf("the log ends with record %d, and record %d was noted: the newest are missing", check.Head.Seq, noted.Seq)
			}
			return c.sayVerdict(check, problem)
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "verify an export instead of asking the server")
	cmd.Flags().StringVar(&head, "head", "", "SEQ:HASH of a record that was noted before; it must be in the log as it was")
	c.addOutput(cmd)
	return cmd
}

func notedHead(text string) (api.AuditHead, error) {
	if text == "" {
		return api.AuditHead{}, nil
	}
	seq, hash, ok := strings.Cut(text, ":")
	n, err := strconv.ParseUint(seq, 10, 63)
	if !ok || err != nil || n == 0 || len(hash) != 64 || strings.Trim(hash, "0123456789abcdef") != "" {
		return api.AuditHead{}, usagef("--head must be SEQ:HASH as nebula audit verify printed it")
	}
	return api.AuditHead{Seq: n, Hash: hash}, nil
}

// verifyAudit feeds every record to check. Problem is what is wrong with the log, err what kept us from looking.
func (c *command) verifyAudit(ctx context.Context, check *audit.Checker, file string) (problem, err error) {
	next := func(line []byte) error {
		problem = check.Next(line)
		return problem
	}
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usagef("read the export: %w", err)
		}
		defer func() { _ = f.Close() }()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, client.MaxAuditLine)
		for lines.Scan() && problem == nil {
			_ = next(lines.Bytes())
		}
		return problem, lines.Err()
	}
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	end, err := cl.AuditHead(ctx) // first: the log goes on while it is read
	if err != nil {
		return nil, err
	}
	if end.Seq > 0 && check.Noted[end.Seq] == "" {
		check.Noted[end.Seq] = end.Hash
	}
	if err := cl.ExportAudit(ctx, 1, next); err != nil && problem == nil {
		return nil, err
	}
	if problem == nil {
		problem = check.Complete(end)
	}
	return problem, nil
}

func (c *command) sayVerdict(check *audit.Checker, problem error) error {
	v := auditVerdict{OK: problem == nil, Records: check.Count, First: check.First, Last: check.Head.Seq, Hash: check.Head.Hash, Renewed: check.Renewed}
	if problem != nil {
		v.Problem = problem.Error()
	}
	err := c.print(v, func(bool) error {
		switch {
		case problem != nil:
			return nil // said below, on standard error
		case v.Records == 0:
			return c.say("The audit log is empty, and should be")
		}
		if err := c.say(fmt.Sprintf("%d records, %d to %d, are as they were written. Note the end: %d:%s", v.Records, v.First, v.Last, v.Last, v.Hash)); err != nil {
			return err
		}
		if len(v.Renewed) > 0 {
			return c.say(fmt.Sprintf("The end was lost and found anew: records %v say so", v.Renewed))
		}
		return nil
	})
	if err != nil || problem == nil {
		return err
	}
	return fmt.Errorf("the audit log is not as it was written: %w; %d records before that are in order. Keep an export and the newest backup, and find out who can write to the store", problem, v.Records)
}

func (c *command) auditRepair() *cobra.Command {
	return &cobra.Command{
		Use: "audit-repair", Short: "Find the end of the audit log anew, when it is damaged or lost", Args: exactly(0, "no argument"),
		Long: "What cannot be recorded is not done, so a cluster whose log has lost its end takes no changes. This finds the end anew from the records\n" +
			"themselves, and says so in a record.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			head, err := cl.RepairAudit(cmd.Context())
			if err != nil {
				return err
			}
			return c.say(fmt.Sprintf("The audit log goes on after record %d; verify it with: nebula audit verify", head.Seq))
		},
	}
}
