import type { Schemas } from "../../api/client";
import type { ModelDetail } from "../../api/models";

export type Endpoint = Schemas["EndpointInfo"];
export type Place = Schemas["ReplicaPlace"];
export type Figures = Schemas["ReplicaFigures"];

export type Replica = {
  id: number;
  node: string;
  gpus: number[] | null;
  endpoint: Endpoint | null;
  /** It is to leave, because somebody drains it. */
  draining: boolean;
};

/** The replicas of a model as they are planned and as nodes report them, one line for each place. */
export function replicasOf(m: ModelDetail): Replica[] {
  const out = new Map<string, Replica>();
  const marked = new Set((m.deployment?.draining ?? []).map((d) => `${d.replica_id} ${d.node_id}`));
  for (const a of m.placement?.assignments ?? []) {
    const key = `${a.replica_id} ${a.node_id}`;
    out.set(key, { id: a.replica_id, node: a.node_id, gpus: a.gpu_indices ?? null, endpoint: null, draining: marked.has(key) });
  }
  for (const e of m.endpoints ?? []) {
    const key = `${e.replica_id} ${e.node_id}`;
    const planned = out.get(key);
    out.set(key, {
      id: e.replica_id,
      node: e.node_id,
      gpus: e.gpu_indices ?? planned?.gpus ?? null,
      endpoint: e,
      draining: marked.has(key) || e.status === "draining",
    });
  }
  return [...out.values()].sort((a, b) => a.id - b.id || a.node.localeCompare(b.node));
}

/** Per second from two looks at a total; null when it cannot be known: a total is absent, or the engine was started anew between them. */
export function rate(before: number | undefined, after: number | undefined, ms: number): number | null {
  if (before === undefined || after === undefined || ms <= 0 || after < before) return null;
  return ((after - before) * 1000) / ms;
}

export type Look = { at: number; replicas: Figures[] };
/** What the replicas of a model do together at one time; `kv` is the share of the fullest cache. */
export type Point = {
  at: number;
  made: number | null;
  read: number | null;
  running: number | null;
  waiting: number | null;
  kv: number | null;
};

function sum(values: (number | null | undefined)[]): number | null {
  const known = values.filter((v): v is number => v !== null && v !== undefined);
  return known.length ? known.reduce((a, b) => a + b, 0) : null;
}

/** The largest of what is known: shares of different caches do not add up. */
function most(values: (number | null | undefined)[]): number | null {
  const known = values.filter((v): v is number => v !== null && v !== undefined);
  return known.length ? Math.max(...known) : null;
}

/** What all replicas together did between two looks. What no replica tells is null, never 0. */
export function pointOf(before: Look | undefined, now: Look): Point {
  const rates = (field: "generation_tokens_total" | "prompt_tokens_total") =>
    sum(
      now.replicas.map((r) => {
        const b = before?.replicas.find((x) => x.replica_id === r.replica_id && x.node_id === r.node_id);
        return b ? rate(b[field], r[field], r.at_ms - b.at_ms) : null;
      }),
    );
  return {
    at: now.at,
    made: rates("generation_tokens_total"),
    read: rates("prompt_tokens_total"),
    running: sum(now.replicas.map((r) => r.requests_running)),
    waiting: sum(now.replicas.map((r) => r.requests_waiting)),
    kv: most(now.replicas.map((r) => r.kv_used_ratio)),
  };
}

/** Adds lines to those that are kept, at most `most` of them; the last element is the line that has no end yet. */
export function addLines(lines: string[], text: string, most: number): string[] {
  const parts = text.split("\n");
  const out = lines.length ? lines.slice() : [""];
  out[out.length - 1] += parts[0]!;
  for (const p of parts.slice(1)) out.push(p);
  // A line without an end may not grow without bounds, either.
  const last = out.length - 1;
  if (out[last]!.length > 64_000) out[last] = out[last]!.slice(-64_000);
  return out.length > most ? out.slice(out.length - most) : out;
}

/** A line as it is shown: without what colours it in a terminal, and without other control characters. */
export function plain(line: string): string {
  return line
    .replace(/\p{Cc}\[[0-9;?]*[A-Za-z]/gu, "")
    .replace(/[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, (c) => (c === "\t" ? c : ""));
}
