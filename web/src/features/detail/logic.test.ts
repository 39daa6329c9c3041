import { expect, test } from "vitest";
import type { ModelDetail } from "../../api/models";
import { addLines, type Figures, plain, pointOf, rate, replicasOf } from "./logic";
import { search } from "./search";

test("the address is read with distrust", () => {
  expect(search({ tab: "logs", replica: "2", previous: true })).toEqual({ tab: "logs", replica: 2, previous: true });
  expect(search({ tab: "<b>", replica: -1, previous: "yes" })).toEqual({});
  expect(search({ replica: "" })).toEqual({});
});

test("replicas are what is planned and what nodes report", () => {
  const m = {
    deployment: { draining: [{ replica_id: 1, node_id: "b" }] },
    placement: {
      assignments: [
        { replica_id: 1, node_id: "b", gpu_indices: [0] },
        { replica_id: 0, node_id: "a", gpu_indices: null },
      ],
    },
    endpoints: [
      { replica_id: 0, node_id: "a", status: "ready" },
      { replica_id: 0, node_id: "gone", status: "draining", gpu_indices: [3] },
    ],
  } as unknown as ModelDetail;
  expect(replicasOf(m).map((r) => [r.id, r.node, r.gpus, r.endpoint?.status, r.draining])).toEqual([
    [0, "a", null, "ready", false],
    [0, "gone", [3], "draining", true],
    [1, "b", [0], undefined, true],
  ]);
});

test("a rate that cannot be known is not known", () => {
  expect(rate(10, 30, 2000)).toBe(10);
  expect(rate(undefined, 30, 2000)).toBeNull();
  expect(rate(30, 10, 2000)).toBeNull(); // started anew
  expect(rate(10, 30, 0)).toBeNull();
});

test("points add up what is known and invent nothing", () => {
  const r = (id: number, at_ms: number, made?: number, running?: number, kv?: number): Figures => ({
    model_uid: "m",
    replica_id: id,
    node_id: "n",
    engine_type: "vllm",
    at_ms,
    generation_tokens_total: made,
    requests_running: running,
    kv_used_ratio: kv,
  });
  const before = { at: 0, replicas: [r(0, 0, 100, 1), r(1, 0)] };
  expect(pointOf(before, { at: 2000, replicas: [r(0, 2000, 150, 2, 0.25), r(1, 2000, undefined, undefined, 0.5)] })).toEqual({
    at: 2000,
    made: 25,
    read: null,
    running: 2,
    waiting: null,
    kv: 0.5,
  });
  expect(pointOf(undefined, before)).toMatchObject({ made: null, kv: null });
});

test("lines of a log come in pieces and are bounded", () => {
  let lines = addLines([], "a\nb", 3);
  expect(lines).toEqual(["a", "b"]);
  lines = addLines(lines, "c\nd\ne\n", 3);
  expect(lines).toEqual(["d", "e", ""]);
  expect(addLines(["x".repeat(63_999)], "yyyy", 3)[0]).toHaveLength(64_000);
});

test("a line cannot colour, move or turn what is around it", () => {
  expect(plain("\u001b[31mred\u001b[0m \u202Eevil\u0007")).toBe("red evil");
});
