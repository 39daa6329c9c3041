import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import en from "./i18n/en";
import zh from "./i18n/zh";
import { preferred } from "./language";

type Tree = { [key: string]: string | Tree };

function leaves(tree: Tree, at = ""): [string, string][] {
  return Object.entries(tree).flatMap(([k, v]) =>
    typeof v === "string" ? [[`${at}${k}`, v] as [string, string]] : leaves(v, `${at}${k}.`),
  );
}

/** Chinese has one form where English has two. */
const base = (key: string) => key.replace(/_(one|other)$/, "");
const holes = (text: string) => [...text.matchAll(/\{\{(\w+)/g)].map((m) => m[1]).sort();

describe("texts", () => {
  const pairs = Object.keys(en) as (keyof typeof en)[];
  test("both languages have the same namespaces", () => expect(Object.keys(zh).sort()).toEqual(Object.keys(en).sort()));
  test.each(pairs)("%s says the same things in both", (ns) => {
    const a = leaves(en[ns] as Tree);
    const b = leaves(zh[ns] as Tree);
    expect([...new Set(b.map(([k]) => base(k)))].sort()).toEqual([...new Set(a.map(([k]) => base(k)))].sort());
    for (const [k, v] of [...a, ...b]) expect(v.trim(), k).not.toBe("");
    const english = new Map(a.map(([k, v]) => [base(k), v]));
    for (const [k, v] of b) expect(holes(v), k).toEqual(holes(english.get(base(k)) ?? ""));
  });
  test("what counts has a form for one and for many in English", () => {
    for (const ns of pairs) {
      const keys = new Set(leaves(en[ns] as Tree).map(([k]) => k));
      for (const k of keys) {
        if (k.endsWith("_one")) expect(keys.has(`${base(k)}_other`), k).toBe(true);
      }
    }
  });
  test("Chinese is Chinese", () => {
    const same: string[] = [];
    for (const ns of pairs) {
      const english = new Map(leaves(en[ns] as Tree));
      for (const [k, v] of leaves(zh[ns] as Tree)) if (english.get(k) === v && /[a-z]{4,} [a-z]{3,}/i.test(v)) same.push(`${ns}:${k}`);
    }
    expect(same).toEqual([]);
  });
});

describe("code", () => {
  test("has no text of its own between tags", () => {
    const found: string[] = [];
    for (const file of readdirSync("src", { recursive: true }) as string[]) {
      if (!file.endsWith(".tsx") || file.endsWith(".test.tsx")) continue;
      const text = readFileSync(join("src", file), "utf8");
      for (const m of text.matchAll(/>\s*([A-Z][a-z]+(?: [a-z]+)+[.!?]?)\s*</g)) found.push(`${file}: ${m[1]}`);
    }
    expect(found).toEqual([]);
  });
});

describe("preferred", () => {
  test.each([
    [null, ["zh-CN", "en"], "zh"],
    [null, ["fr", "zh-TW"], "zh"],
    [null, ["en-GB", "zh"], "en"],
    [null, ["fr"], "en"],
    [null, [], "en"],
    ["zh", ["en"], "zh"],
    ["xx", ["zh"], "zh"],
  ] as const)("%s %j -> %s", (stored, wanted, want) => expect(preferred(stored, wanted)).toBe(want));
});
