import type { InfiniteData } from "@tanstack/react-query";
import { describe, expect, test } from "vitest";
import { type Page, patch } from "./pages";

type Row = { id: string; n: number };
const page = (...rows: Row[]): Page<Row> => ({ rows, cursor: null, total: null, revision: "1" });
const of = (...pages: Page<Row>[]): InfiniteData<Page<Row>> => ({ pages, pageParams: pages.map(() => "") });
const idOf = (r: Row) => r.id;
const a = { id: "a", n: 1 };
const b = { id: "b", n: 1 };

describe("patch", () => {
  test("replaces what is loaded, and only that", () => {
    const before = of(page(a), page(b));
    const [after, again] = patch(before, idOf, new Map([["b", { id: "b", n: 2 }]]));
    expect(after.pages.map((p) => p.rows)).toEqual([[a], [{ id: "b", n: 2 }]]);
    expect(after.pages[0]).toBe(before.pages[0]);
    expect(again).toBe(false);
  });
  test("takes out what is gone, and has the rest asked for again", () => {
    const [after, again] = patch(of(page(a, b)), idOf, new Map([["a", null]]));
    expect(after.pages[0]!.rows).toEqual([b]);
    expect(again).toBe(true);
  });
  test("asks for what is new: only the server knows where it belongs", () => {
    const [after, again] = patch(of(page(a)), idOf, new Map([["z", { id: "z", n: 1 }]]));
    expect(after.pages[0]!.rows).toEqual([a]);
    expect(again).toBe(true);
  });
  test("does nothing for what was never loaded and is gone", () => expect(patch(of(page(a)), idOf, new Map([["z", null]]))[1]).toBe(false));
});
