// Who may import whom: app -> features -> domain -> (api, ui, lib); ui and api -> (api, lib). Features do not know each other.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { expect, test } from "vitest";

const allowed: Record<string, string[]> = {
  app: ["app", "features", "domain", "api", "ui", "lib"],
  features: ["domain", "api", "ui", "lib"],
  domain: ["domain", "api", "ui", "lib"],
  ui: ["ui", "api", "lib"],
  api: ["api", "lib"],
  lib: ["lib"],
  test: ["app", "features", "domain", "api", "ui", "lib", "test"],
};

const files = (readdirSync("src", { recursive: true }) as string[]).filter((f) => /\.tsx?$/.test(f) && !f.endsWith(".gen.ts"));
const tests = /\.test\.tsx?$/;

test.each(files.filter((f) => !tests.test(f) && f !== "main.tsx"))("%s imports only what it may", (file) => {
  const [room, feature] = file.split("/") as [string, string];
  const text = readFileSync(join("src", file), "utf8");
  for (const [, to] of text.matchAll(/(?:from|import\()\s*"(\.[^"]+)"/g)) {
    const [other, otherFeature] = normalize(join(dirname(file), to!)).split("/") as [string, string];
    if (room === "features" && other === "features") expect(otherFeature, `${file} imports ${to}`).toBe(feature);
    else expect(allowed[room], `${file} imports ${to}`).toContain(other);
  }
});

test("no file is longer than 250 lines", () => {
  const long = files.filter((f) => readFileSync(join("src", f), "utf8").split("\n").length > 251);
  expect(long).toEqual([]);
});

test("nothing is drawn as HTML that came as text", () => {
  const word = ["dangerously", "SetInnerHTML"].join("");
  expect(files.filter((f) => readFileSync(join("src", f), "utf8").includes(word))).toEqual([]);
});
