// Model files on the nodes: what their caches hold, what is on its way, and what may be done about it.
import { api, must, type Schemas } from "../api/client";
import { useLive } from "../api/live";

export type Entry = Schemas["CacheEntryView"];
export type Pull = Schemas["PullView"];
export type Pruned = Schemas["CachePruned"];
export type FilesRequest = Schemas["FilesRequest"];

/** The pulls of a node, or of all. */
export function usePulls(node?: string) {
  return useLive<Pull[]>(node === undefined ? "/api/v2/cache/pulls" : `/api/v2/cache/pulls?node=${encodeURIComponent(node)}`);
}

export const useNodeCache = (node: string) => useLive<Entry[]>(`/api/v2/nodes/${encodeURIComponent(node)}/cache`);

export const pull = (body: FilesRequest) => must(api.POST("/api/v2/cache/pull", { body }));
export const pin = (body: FilesRequest) => must(api.POST("/api/v2/cache/pin", { body }));
export const unpin = (body: FilesRequest) => must(api.POST("/api/v2/cache/unpin", { body }));

export function cancelPull(p: Pull) {
  return must(api.DELETE("/api/v2/cache/pulls/{node}/{pull}", { params: { path: { node: p.node_id, pull: p.pull_id } } }));
}

export type Prune = Schemas["CachePrune"];

/** Tells what a prune would remove; nothing is removed. */
export function previewPrune(id: string, body: Prune): Promise<Pruned> {
  return must(api.POST("/api/v2/nodes/{id}/cache/prune/dry-run", { params: { path: { id } }, body }));
}

export function prune(id: string, body: Prune): Promise<Pruned> {
  return must(api.POST("/api/v2/nodes/{id}/cache/prune", { params: { path: { id } }, body }));
}

function evicted(e: Entry, dry: boolean): Promise<Pruned> {
  const query = { model: e.model_name, path: e.cache_path, dry_run: dry };
  return must(api.DELETE("/api/v2/nodes/{id}/cache", { params: { path: { id: e.node_id }, query } }));
}

/** Tells what the removal of one model's files would free; nothing is removed. */
export const previewEvict = (e: Entry) => evicted(e, true);

export const evict = (e: Entry) => evicted(e, false);

/** Where files in a cache's layout came from; null for a folder that people filled, which Nebula neither fetches nor deletes. */
export function sourceOf(path: string): "hugging_face" | "model_scope" | null {
  if (!/(^|\/)models--[^/]+/.test(path)) return null;
  return /(^|\/)modelscope\//.test(path) ? "model_scope" : "hugging_face";
}

/** How the API is told which files an entry has: by a declared model that uses them, else by their name at the source; null when neither is known. */
export function requestOf(e: Entry): FilesRequest | null {
  const source = sourceOf(e.cache_path);
  if (source === null) return null;
  const uid = e.matched_model_uids?.[0];
  if (uid) return { model_uid: uid, node_ids: [e.node_id] };
  return { model_name: e.model_name, model_source: source, node_ids: [e.node_id] };
}

/** Whether anything of a pull is still to come. */
export function isUnderWay(p: Pull): boolean {
  return p.state === "waiting" || p.state === "downloading" || p.state === "verifying" || p.state === "away";
}

const rank: Record<Pull["state"], number> = { failed: 0, downloading: 1, verifying: 2, waiting: 3, away: 4, complete: 5 };

export function byUrgency(pulls: Pull[]): Pull[] {
  return [...pulls].sort((a, b) => rank[a.state] - rank[b.state] || b.created_at_ms - a.created_at_ms);
}

/** Entries of one model together, whichever node they are on. */
export type Files = {
  key: string;
  name: string;
  entries: Entry[];
  bytes: number;
  complete: number;
  pinned: number;
  accessed: number;
  users: string[];
};

export function byModel(entries: Entry[]): Files[] {
  const groups = new Map<string, Entry[]>();
  for (const e of entries) {
    const key = `${sourceOf(e.cache_path) ?? "folder"} ${e.model_name}`;
    groups.set(key, [...(groups.get(key) ?? []), e]);
  }
  return [...groups].map(([key, list]) => ({
    key,
    name: list[0]!.model_name,
    entries: list.sort((a, b) => a.node_id.localeCompare(b.node_id, undefined, { numeric: true })),
    bytes: list.reduce((sum, e) => sum + e.size_bytes, 0),
    complete: list.filter((e) => e.complete).length,
    pinned: list.filter((e) => e.pinned).length,
    accessed: Math.max(...list.map((e) => e.last_accessed_ms)),
    users: [...new Set(list.flatMap((e) => e.matched_model_uids ?? []))].sort(),
  }));
}
