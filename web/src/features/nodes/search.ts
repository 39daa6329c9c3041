import type { NodeView } from "../../domain/fleet";

export const nodeStates = ["ready", "cut_off", "lost", "cordoned", "draining"] as const;
export type Shown = (typeof nodeStates)[number];
export type Search = { q?: string; state?: Shown; sort?: string };

const fields = ["id", "state", "replicas", "memory_free", "disk_used"];

/** What the address of this page holds beside its path. */
export function search(s: Record<string, unknown>): Search {
  const out: Search = {};
  if ((typeof s.q === "string" || typeof s.q === "number") && s.q !== "") out.q = String(s.q).slice(0, 200);
  if (nodeStates.includes(s.state as Shown)) out.state = s.state as Shown;
  if (typeof s.sort === "string" && fields.includes(s.sort.replace(/^-/, ""))) out.sort = s.sort;
  return out;
}

/** Whether a node is shown under a state: that of the node itself, or what people have said of it. */
export function isShown(n: NodeView, state: Shown | undefined): boolean {
  if (!state) return true;
  if (state === "cordoned") return !!n.cordoned;
  if (state === "draining") return !!n.draining;
  return n.state === state;
}

/** The path of the list in the order that is asked for. What is searched for is chosen here, at once: all nodes are there anyway. */
export function listPath(s: Search): string {
  return s.sort ? `/api/v2/nodes?sort=${encodeURIComponent(s.sort)}` : "/api/v2/nodes";
}
