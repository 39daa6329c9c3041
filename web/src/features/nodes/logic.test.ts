import { expect, test } from "vitest";
import type { NodeView } from "../../domain/fleet";
import { chosen, holders, joinCommand, shellWord } from "./logic";
import { listPath, search } from "./search";

const node = (id: string, more: Partial<NodeView> = {}): NodeView => ({
  node_id: id,
  state: "ready",
  gpus: [],
  replicas: [],
  last_heartbeat_ms: 1,
  ...more,
});
const ids = (nodes: NodeView[]) => nodes.map((n) => n.node_id);

test("nodes are chosen by state and by words of the id or the host name, in the server's order", () => {
  const nodes = [node("b", { hostname: "Rack-1" }), node("a", { state: "lost" }), node("c", { cordoned: true, draining: true })];
  expect(ids(chosen(nodes, {}))).toEqual(["b", "a", "c"]);
  expect(ids(chosen(nodes, { q: " rack " }))).toEqual(["b"]);
  expect(ids(chosen(nodes, { state: "lost" }))).toEqual(["a"]);
  expect(ids(chosen(nodes, { state: "cordoned" }))).toEqual(["c"]);
  expect(ids(chosen(nodes, { state: "draining", q: "a" }))).toEqual([]);
});

test("the address holds only what the page understands", () => {
  expect(search({ q: 7, state: "lost", sort: "-disk_used" })).toEqual({ q: "7", state: "lost", sort: "-disk_used" });
  expect(search({ q: "", state: "odd", sort: "__proto__", other: 1 })).toEqual({});
  expect(search({ q: "x".repeat(999) }).q).toHaveLength(200);
  expect(listPath({ state: "lost" })).toBe("/api/v2/nodes");
  expect(listPath({ q: "a&b", sort: "-id" })).toBe("/api/v2/nodes?sort=-id");
});

test("a command line holds every word whole", () => {
  expect(shellWord("gpu-1.example:8443")).toBe("gpu-1.example:8443");
  expect(shellWord("a b")).toBe("'a b'");
  expect(shellWord("$(rm -rf ~)`x`")).toBe("'$(rm -rf ~)`x`'");
  expect(shellWord("it's")).toBe("'it'\\''s'");
  expect(shellWord("")).toBe("''");
});

test("the command to join names the server, or leaves its address open", () => {
  const token = { id: "t", token: "nbj_x", for: "node" as const, expires_at_ms: 1 };
  expect(joinCommand(token, [{ id: "s" }, { id: "t", addr: "10.0.0.1:8443" }])).toEqual({
    command: "nebula node --server https://10.0.0.1:8443 --token nbj_x",
    open: false,
  });
  expect(joinCommand({ ...token, name: "gpu 7" }, [])).toEqual({
    command: "nebula node --server https://HOST:PORT --node-id 'gpu 7' --token nbj_x",
    open: true,
  });
});

test("a GPU is held by the replica that has its number", () => {
  const n = node("a", {
    replicas: [
      { model_uid: "m", replica_id: 1, status: "ready", gpu_indices: [2, 3] },
      { model_uid: "cpu", replica_id: 0, status: "ready" },
    ],
  });
  expect(holders(n).get(3)).toEqual({ uid: "m", replica: 1 });
  expect(holders(n).size).toBe(2);
});
