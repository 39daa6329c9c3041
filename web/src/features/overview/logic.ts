// What the overview makes of what it is told.
import type { ModelView } from "../../api/models";
import { diskOf, type NodeView, ratio } from "../../domain/fleet";
import type { ModelState } from "../../domain/status";

/** Reasons that do not go away by themselves: a replica has no place, or is where nobody hears of it. */
const stuck = new Set([
  "no_nodes",
  "unschedulable",
  "engine_not_installed",
  "node_gone",
  "node_cut_off",
  "replica_draining",
  "node_draining",
  "unreadable_document",
]);

export type Need = { key: string; kind: "model" | "node"; id: string; state: string; text: string; urgent: boolean };

/** What somebody should see to, the worst first. Alerts are above every page already and are not repeated here. */
export function needs(troubled: ModelView[], moving: ModelView[], nodes: NodeView[]): Need[] {
  const models = [...troubled, ...moving.filter((m) => m.reason && stuck.has(m.reason.code))].map((m) => ({
    key: `model ${m.model_uid}`,
    kind: "model" as const,
    id: m.model_uid,
    state: m.state,
    text: m.reason?.message ?? "",
    urgent: m.state === "failed",
  }));
  const away = nodes
    .filter((n) => n.state !== "ready")
    .map((n) => ({ key: `node ${n.node_id}`, kind: "node" as const, id: n.node_id, state: n.state, text: "", urgent: n.state === "lost" }));
  return [...models, ...away].sort((a, b) => Number(b.urgent) - Number(a.urgent));
}

/** Those of the states that some model is in, in the order in which people look at them. */
export function shownStates(states: Record<ModelState, number>, order: ModelState[]): [ModelState, number][] {
  return order.map((s) => [s, states[s] ?? 0] as [ModelState, number]).filter(([, n]) => n > 0);
}

/** The nodes that are drawn when there are too many for all: those that need somebody, then the fullest disks, then by name. */
export function drawn(nodes: NodeView[], most: number): NodeView[] {
  const trouble = (n: NodeView) => (n.state !== "ready" ? 2 : n.alerts?.length ? 1 : 0);
  const full = (n: NodeView) => {
    const use = diskOf(n.disk);
    return use ? ratio(use) : 0;
  };
  const ordered =
    nodes.length <= most
      ? [...nodes].sort((a, b) => byName(a, b))
      : [...nodes].sort((a, b) => trouble(b) - trouble(a) || full(b) - full(a) || byName(a, b));
  return ordered.slice(0, most);
}

function byName(a: NodeView, b: NodeView): number {
  return a.node_id.localeCompare(b.node_id, undefined, { numeric: true });
}

/** The bytes of a model's downloads together; null while no size is known. */
export function progressOf(m: ModelView): { done: number; total: number; speed: number } | null {
  const told = (m.downloads ?? []).filter((d) => d.phase !== "complete" && d.phase !== "failed" && d.total_bytes > 0);
  if (!told.length) return null;
  return told.reduce(
    (a, d) => ({ done: a.done + d.downloaded_bytes, total: a.total + d.total_bytes, speed: a.speed + d.speed_bytes_per_sec }),
    { done: 0, total: 0, speed: 0 },
  );
}
