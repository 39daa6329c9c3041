import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { json, python, shell, snippet } from "./snippets";

const hostile = [
  "it's '; rm -rf / #",
  "$(reboot) `reboot` $HOME \\ \\' \" \n\t",
  "<img src=x onerror=alert(1)>",
  "\u202Egnp.exe \u2028 \uFEFF",
  "\u0000\u001b[31m",
  ["</script>$", "{process.exit()}"].join(""),
  '"""\n"""',
  "模型 🚀 \uD800",
];

describe.each(hostile)("%j", (text) => {
  const body = { model: text, messages: [{ role: "user", content: text }], stream: true, metadata: { [text]: null } };

  test("reaches a shell as one word", () => {
    const word = shell(json(body));
    const seen = execFileSync("sh", ["-c", `printf %s ${word}`], { encoding: "utf8" });
    expect(JSON.parse(seen)).toEqual(body);
  });
  test("is a value of JavaScript", () => {
    const js = snippet("javascript", "http://a", { path: "/v1/chat/completions", body });
    const value = js.slice(js.indexOf("JSON.stringify(") + 15, js.lastIndexOf("),\n});"));
    expect(JSON.parse(value)).toEqual(body);
  });
  test("has no hidden characters in any language", () => {
    for (const l of ["curl", "python", "javascript"] as const)
      expect(snippet(l, "http://a", { path: "/v1/chat/completions", body })).not.toMatch(/(?!\n)[\p{Cc}\u202A-\u202E\u2028\uFEFF]/u);
  });
});

test("Python has its own words", () => {
  expect(python({ a: [true, null, 1.5], b: {}, c: [] })).toBe(
    '{\n    "a": [\n        True,\n        None,\n        1.5,\n    ],\n    "b": {},\n    "c": [],\n}',
  );
});

test("no key is ever in it", () => {
  for (const l of ["curl", "python", "javascript"] as const)
    expect(snippet(l, "https://nebula.example", { path: "/v1/embeddings", body: { model: "m", input: ["x"] } })).toContain("NEBULA_KEY");
});
