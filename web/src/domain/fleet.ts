// The machines and what they have, as everybody counts it. What a node does not tell is null, never 0.
import type { Schemas } from "../api/client";
import { useLive } from "../api/live";

export type NodeView = Schemas["NodeView"];
export type Gpu = Schemas["GPUStatus"];
export type Disk = Schemas["NodeDiskStatus"];
export type Alert = Schemas["DiskAlert"];

/** Where a disk begins to worry, and where downloads are refused: used of what can be used. */
export const diskMarks = [0.85, 0.95];

export const mib = 1024 * 1024;

export const useNodes = () => useLive<NodeView[]>("/api/v2/nodes");

export type Use = { used: number; total: number };

/** Main memory in bytes; null when the node does not tell. */
export function memoryOf(n: NodeView): Use | null {
  if (!n.memory_total_mb || n.memory_free_mb === undefined) return null;
  return { used: Math.max(0, n.memory_total_mb - n.memory_free_mb) * mib, total: n.memory_total_mb * mib };
}

/** A disk in bytes as df counts it: of what others than root can use. */
export function diskOf(d: Disk | undefined): Use | null {
  if (!d || d.total_bytes === 0) return null;
  return { used: d.used_bytes, total: d.used_bytes + d.available_bytes };
}

export function gpuMemoryOf(gpus: Gpu[]): Use | null {
  const told = gpus.filter((g) => g.memory_total_mb > 0);
  return told.length ? sum(told.map((g) => ({ used: g.memory_used_mb * mib, total: g.memory_total_mb * mib }))) : null;
}

/** The sum of what is known; null when nothing is. */
export function total(uses: (Use | null)[]): Use | null {
  const known = uses.filter((u) => u !== null);
  return known.length ? sum(known) : null;
}

function sum(uses: Use[]): Use {
  return uses.reduce((a, b) => ({ used: a.used + b.used, total: a.total + b.total }), { used: 0, total: 0 });
}

export function ratio(u: Use): number {
  return u.total > 0 ? u.used / u.total : 0;
}

/** The numbers of the GPUs that replicas hold on a node. */
export function heldGpus(n: NodeView): Set<number> {
  return new Set((n.replicas ?? []).flatMap((r) => r.gpu_indices ?? []));
}

/** Nodes that report: what the others told last is not what is now. */
export function reporting(nodes: NodeView[]): NodeView[] {
  return nodes.filter((n) => n.state === "ready");
}

/** Kinds of GPU with how many there are of each: 2 × NVIDIA H100. */
export function gpuKinds(gpus: Gpu[]): [name: string, count: number][] {
  const kinds = new Map<string, number>();
  for (const g of gpus) kinds.set(g.name ?? "", (kinds.get(g.name ?? "") ?? 0) + 1);
  return [...kinds];
}
