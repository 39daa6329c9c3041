import { expect, test } from "vitest";
import { each, narrowed, queryOf } from "./logic";
import { search } from "./search";

test("the address is read with distrust", () => {
  expect(search({ q: 7, state: "failed", engine: "vllm", label: "a=b", sort: "-updated" })).toEqual({
    q: "7",
    state: "failed",
    engine: "vllm",
    label: ["a=b"],
    sort: "-updated",
  });
  expect(search({ q: {}, state: "sleeping", engine: "<b>", label: [3, "x", "=y", "k=v", "k=v"], sort: "; drop" })).toEqual({
    label: ["k=v"],
  });
  expect(search({ q: "x".repeat(1000) }).q).toHaveLength(200);
});

test("a query has what narrows the list, escaped", () => {
  expect(queryOf({})).toBe("");
  expect(queryOf({ q: " a&b ", state: "failed", label: ["a=b", "c=d e"], sort: "-name" })).toBe(
    "?q=a%26b&state=failed&sort=-name&label=a%3Db&label=c%3Dd+e",
  );
  expect(queryOf({ q: "x", state: "failed", sort: "name" }, ["state", "sort"])).toBe("?q=x");
  expect(narrowed({ sort: "name", q: "  " })).toBe(false);
  expect(narrowed({ label: ["a=b"] })).toBe(true);
});

test("work on many keeps to its limit, and a failure stops none of the others", async () => {
  let now = 0;
  let most = 0;
  const told: string[] = [];
  const out = await each(
    ["a", "b", "c", "d", "e"],
    2,
    async (id) => {
      most = Math.max(most, ++now);
      await Promise.resolve();
      now--;
      if (id === "b") throw new Error("no");
    },
    (o) => told.push(o.id),
  );
  expect(most).toBe(2);
  expect(out.map((o) => [o.id, o.error === null])).toEqual([
    ["a", true],
    ["b", false],
    ["c", true],
    ["d", true],
    ["e", true],
  ]);
  expect(told.sort()).toEqual(["a", "b", "c", "d", "e"]);
});
