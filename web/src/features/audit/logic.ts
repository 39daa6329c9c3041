import type { Schemas } from "../../api/client";
import type { Search } from "./search";

export type AuditRecord = Schemas["AuditRecord"];

/** The list's address with all that narrows it. Times are those of this browser's zone; the end of a span is its last millisecond. */
export function auditPath(s: Search): string {
  const q = new URLSearchParams();
  for (const k of ["actor", "verb", "object", "result"] as const) if (s[k]) q.set(k, s[k]);
  if (s.from) q.set("from", String(new Date(s.from).getTime()));
  if (s.to) q.set("to", String(new Date(s.to).getTime() + 59_999));
  const query = q.toString();
  return query ? `/api/v2/audit?${query}` : "/api/v2/audit";
}

export function narrowed(s: Search): boolean {
  return Boolean(s.actor || s.verb || s.object || s.result || s.from || s.to);
}

export const resultColor: { [result: string]: string } = { ok: "teal", denied: "orange", failed: "red" };

/** A value of a record as text: what was absent is empty, what is stored otherwise than as text is JSON. */
export function shown(v: unknown): string {
  if (v === undefined || v === null) return "";
  return typeof v === "string" ? v : JSON.stringify(v);
}

/** The changes by the document that they are of, in the order of the record. */
export function byDocument(changes: AuditRecord["changes"]): { document: string; changes: NonNullable<AuditRecord["changes"]> }[] {
  const groups = new Map<string, NonNullable<AuditRecord["changes"]>>();
  for (const c of changes ?? []) groups.set(c.document, [...(groups.get(c.document) ?? []), c]);
  return [...groups].map(([document, list]) => ({ document, changes: list }));
}
