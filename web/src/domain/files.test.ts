import { expect, test } from "vitest";
import { byModel, byUrgency, type Entry, isUnderWay, type Pull, requestOf, sourceOf } from "./files";

const entry = (node: string, name: string, path: string, more: Partial<Entry> = {}): Entry => ({
  node_id: node,
  model_name: name,
  cache_path: path,
  size_bytes: 10,
  file_count: 1,
  complete: true,
  last_accessed_ms: 5,
  discovered_at_ms: 1,
  matched_model_uids: [],
  pinned: false,
  ...more,
});
const hub = "/m/hub/models--acme--a";

test("the layout of a cache says where files came from; a folder of people does not", () => {
  expect(sourceOf(hub)).toBe("hugging_face");
  expect(sourceOf("/m/modelscope/hub/models--acme--a")).toBe("model_scope");
  expect(sourceOf("/m/models/acme/a")).toBeNull();
  expect(sourceOf("")).toBeNull();
});

test("files are named by a declared model that uses them, else by their name at the source", () => {
  expect(requestOf(entry("n", "acme/a", hub, { matched_model_uids: ["a", "b"] }))).toEqual({ model_uid: "a", node_ids: ["n"] });
  expect(requestOf(entry("n", "acme/a", hub))).toEqual({ model_name: "acme/a", model_source: "hugging_face", node_ids: ["n"] });
  expect(requestOf(entry("n", "acme/a", "/srv/acme/a"))).toBeNull();
});

test("copies of a model are one row; the same name from another source is another", () => {
  const got = byModel([
    entry("n10", "acme/a", hub, { pinned: true, last_accessed_ms: 9 }),
    entry("n9", "acme/a", hub, { complete: false, matched_model_uids: ["u"] }),
    entry("n9", "acme/a", "/m/modelscope/hub/models--acme--a"),
  ]);
  expect(got).toHaveLength(2);
  expect(got[0]).toMatchObject({ bytes: 20, complete: 1, pinned: 1, accessed: 9, users: ["u"] });
  expect(got[0]?.entries.map((e) => e.node_id)).toEqual(["n9", "n10"]);
});

test("failed pulls come first, those that are done last", () => {
  const p = (state: Pull["state"], at = 1) => ({ state, created_at_ms: at }) as Pull;
  expect(byUrgency([p("complete"), p("waiting"), p("downloading"), p("failed")]).map((x) => x.state)).toEqual([
    "failed",
    "downloading",
    "waiting",
    "complete",
  ]);
  expect([p("away"), p("waiting"), p("complete"), p("failed")].map(isUnderWay)).toEqual([true, true, false, false]);
});
