import { expect, test } from "vitest";
import type { ModelView } from "../../api/models";
import type { NodeView } from "../../domain/fleet";
import { drawn, needs, progressOf, shownStates } from "./logic";

const model = (uid: string, state: ModelView["state"], more: Partial<ModelView> = {}): ModelView => ({
  model_uid: uid,
  model_name: uid,
  engine_type: null,
  state,
  replicas: { desired: 1, ready: 0, starting: 0, unhealthy: 0 },
  endpoints: [],
  labels: {},
  created_at_ms: 1,
  updated_at_ms: 1,
  revision: 1,
  ...more,
});
const node = (id: string, more: Partial<NodeView> = {}): NodeView => ({
  node_id: id,
  state: "ready",
  gpus: [],
  replicas: [],
  last_heartbeat_ms: 1,
  ...more,
});
const disk = (used: number): NodeView["disk"] => ({
  node_id: "",
  model_dir: "/m",
  total_bytes: 100,
  used_bytes: used,
  available_bytes: 100 - used,
  usage_pct: used,
  model_cache_bytes: 0,
  model_count: 0,
  updated_at_ms: 1,
});

test("what needs somebody: failures and lost nodes first, then the rest; what moves by itself does not", () => {
  const got = needs(
    [model("d", "degraded"), model("f", "failed", { reason: { code: "x", message: "why" } })],
    [
      model("waits", "starting", { reason: { code: "unschedulable", message: "no room" } }),
      model("goes", "starting", { reason: { code: "loading", message: "loads" } }),
    ],
    [node("ok"), node("cut", { state: "cut_off" }), node("gone", { state: "lost" })],
  );
  expect(got.map((n) => n.id)).toEqual(["f", "gone", "d", "waits", "cut"]);
  expect(got[0]?.text).toBe("why");
});

test("no trouble needs nobody", () => {
  expect(needs([], [], [node("a")])).toEqual([]);
});

test("only states that some model is in are shown", () => {
  const states = { running: 2, degraded: 0, starting: 0, downloading: 0, stopping: 0, stopped: 1, failed: 0 };
  expect(shownStates(states, ["running", "failed", "stopped"])).toEqual([
    ["running", 2],
    ["stopped", 1],
  ]);
});

test("a few nodes are all drawn, by name as people count", () => {
  expect(drawn([node("n10"), node("n9")], 5).map((n) => n.node_id)).toEqual(["n9", "n10"]);
});

test("of many nodes those in trouble are drawn, then the fullest disks", () => {
  const nodes = [node("a"), node("b", { disk: disk(90) }), node("c", { state: "lost" }), node("d", { disk: disk(20) })];
  expect(drawn(nodes, 3).map((n) => n.node_id)).toEqual(["c", "b", "d"]);
});

test("progress adds up downloads whose size is known, and is null while none is", () => {
  const d = (total: number, done: number, phase = "downloading") =>
    ({ phase, total_bytes: total, downloaded_bytes: done, speed_bytes_per_sec: 5 }) as NonNullable<ModelView["downloads"]>[number];
  expect(progressOf(model("m", "downloading"))).toBeNull();
  expect(progressOf(model("m", "downloading", { downloads: [d(0, 0)] }))).toBeNull();
  expect(progressOf(model("m", "downloading", { downloads: [d(10, 4), d(10, 6), d(9, 9, "complete")] }))).toEqual({
    done: 10,
    total: 20,
    speed: 10,
  });
});
