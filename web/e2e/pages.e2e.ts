// Every page in both schemes and both languages: no fault that axe knows, nothing that it complains of, and a picture.
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { closeBrowser, Visitor } from "./browser";
import { Nebula, until } from "./nebula";
import { pages } from "./pages";

const shots = resolve(process.env.NEBULA_SHOTS ?? "../.cache/console/shots");
let nebula: Nebula;

beforeAll(async () => {
  mkdirSync(shots, { recursive: true });
  nebula = await Nebula.start();
  await nebula.running("demo", "Hello! Nebula works: this answer came from a real engine running a demo model.");
  nebula.cli(["model", "create", "acme/Tiny-GGUF", "--uid", "tiny", "--label", "team=search"]);
  nebula.cli(["model", "create", "acme/Gone-GGUF", "--uid", "gone", "--start"]);
  nebula.cli(["key", "create", "ci", "--owner", "ada", "--role", "inference"]);
  await until("gone has failed", async () => (await nebula.state("gone")) === "failed");
});
afterAll(async () => {
  await closeBrowser();
  await nebula?.end();
});

const all = [
  ...pages,
  { name: "model", path: "/models/demo" },
  ...["replicas", "downloads", "figures", "logs", "events"].map((tab) => ({ name: `model-${tab}`, path: `/models/demo?tab=${tab}` })),
  ...["keys", "sessions", "secrets"].map((tab) => ({ name: `access-${tab}`, path: `/access?tab=${tab}` })),
];

describe.each([
  { zh: false, dark: false },
  { zh: false, dark: true },
  { zh: true, dark: false },
  { zh: true, dark: true },
])("zh $zh, dark $dark", ({ zh, dark }) => {
  const suffix = `${zh ? "zh" : "en"}-${dark ? "dark" : "light"}`;
  test("before logging in", async () => {
    for (const path of ["/login", "/setup"]) {
      const v = await Visitor.open(nebula.url, { zh, dark });
      await v.go(path);
      await v.settled();
      expect.soft(await v.axe(), path).toEqual([]);
      await v.picture(join(shots, `${path.slice(1)}-${suffix}.webp`));
      await v.close();
    }
  });
  test("every page", async () => {
    const v = await Visitor.as(nebula.url, "ada", "/", { zh, dark });
    for (const p of all) {
      await v.go(p.path);
      await v.settled();
      expect.soft(await v.axe(), p.path).toEqual([]);
      expect.soft(await v.page.evaluate(() => document.documentElement.lang), p.path).toBe(zh ? "zh-CN" : "en");
      expect
        .soft(await v.page.evaluate(() => document.documentElement.scrollWidth > innerWidth), `${p.path} is wider than the window`)
        .toBe(false);
      await v.picture(join(shots, `${p.name}-${suffix}.webp`));
    }
    await v.close();
  });
});

test("nothing is wider than a telephone", async () => {
  const v = await Visitor.as(nebula.url, "ada", "/", { width: 390, height: 800 });
  for (const p of all) {
    await v.go(p.path);
    await v.settled();
    expect.soft(await v.page.evaluate(() => document.documentElement.scrollWidth - innerWidth), p.path).toBeLessThanOrEqual(0);
  }
  await v.close();
});
