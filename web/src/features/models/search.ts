import { type ModelState, modelStates } from "../../domain/status";

export type ModelsSearch = { q?: string; state?: ModelState; engine?: string; label?: string[]; sort?: string };

const fields = ["uid", "name", "state", "engine", "replicas", "created", "updated"];

/** What the address of this page holds beside its path; what it does not know is left out. */
export function search(s: Record<string, unknown>): ModelsSearch {
  const out: ModelsSearch = {};
  const q = typeof s.q === "string" || typeof s.q === "number" ? String(s.q) : "";
  if (q) out.q = q.slice(0, 200);
  if (modelStates.includes(s.state as ModelState)) out.state = s.state as ModelState;
  if (typeof s.engine === "string" && /^[a-z0-9_]{1,40}$/.test(s.engine)) out.engine = s.engine;
  const labels = (Array.isArray(s.label) ? s.label : [s.label]).filter((l): l is string => typeof l === "string" && /^[^=]+=/.test(l));
  if (labels.length) out.label = [...new Set(labels)].slice(0, 8);
  if (typeof s.sort === "string" && fields.includes(s.sort.replace(/^-/, ""))) out.sort = s.sort;
  return out;
}
