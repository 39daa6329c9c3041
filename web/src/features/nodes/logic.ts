// What the pages of nodes decide.
import type { Schemas } from "../../api/client";
import type { NodeView } from "../../domain/fleet";
import { isShown, type Search } from "./search";

/** The nodes that the address asks for; the server has sorted them. */
export function chosen(nodes: NodeView[], s: Search): NodeView[] {
  const q = s.q?.trim().toLowerCase() ?? "";
  return nodes.filter((n) => isShown(n, s.state) && (!q || [n.node_id, n.hostname].some((text) => text?.toLowerCase().includes(q))));
}

/** A word as a POSIX shell reads it as one, whatever is in it. */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9_./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** What to type on a machine that is to join, and whether the address in it is still to be filled in. */
export function joinCommand(token: Schemas["JoinTokenCreated"], servers: Schemas["ServerView"][]): { command: string; open: boolean } {
  const addr = servers.find((s) => s.addr)?.addr;
  const words = ["nebula", "node", "--server", `https://${addr ?? "HOST:PORT"}`];
  if (token.name) words.push("--node-id", token.name);
  words.push("--token", token.token);
  return { command: words.map(shellWord).join(" "), open: !addr };
}

/** Who holds each GPU of a node. */
export function holders(n: NodeView): Map<number, { uid: string; replica: number }> {
  const out = new Map<number, { uid: string; replica: number }>();
  for (const r of n.replicas ?? []) for (const g of r.gpu_indices ?? []) out.set(g, { uid: r.model_uid, replica: r.replica_id });
  return out;
}
