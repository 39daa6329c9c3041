export const results = ["ok", "denied", "failed"] as const;
export type Search = {
  actor?: string;
  verb?: string;
  object?: string;
  result?: (typeof results)[number];
  from?: string;
  to?: string;
  record?: number;
};

/** What the address of this page holds: what is looked for, and the record that is open. */
export function search(s: Record<string, unknown>): Search {
  return {
    actor: text(s.actor),
    verb: text(s.verb),
    object: text(s.object),
    result: results.find((r) => r === s.result),
    from: time(s.from),
    to: time(s.to),
    record: typeof s.record === "number" && Number.isSafeInteger(s.record) && s.record > 0 ? s.record : undefined,
  };
}

function text(v: unknown): string | undefined {
  if (typeof v === "number") return String(v);
  return typeof v === "string" && v !== "" ? v.slice(0, 200) : undefined;
}

/** A local time to the minute, as a field for times has it. */
function time(v: unknown): string | undefined {
  return typeof v === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d$/.test(v) && !Number.isNaN(Date.parse(v)) ? v : undefined;
}
