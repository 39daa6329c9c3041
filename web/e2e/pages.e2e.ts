// Every page in both schemes and both languages: no fault that axe knows, nothing that it complains of, and a picture where one is wanted.
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { closeBrowser, Visitor } from "./browser";
import { Nebula, until } from "./nebula";
import { pages } from "./pages";

/** Where pictures go; without it none are taken. */
const shots = process.env.NEBULA_SHOTS ? resolve(process.env.NEBULA_SHOTS) : null;
let nebula: Nebula;

beforeAll(async () => {
  if (shots) mkdirSync(shots, { recursive: true });
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

test("what looks for faults finds them", async () => {
  const v = await Visitor.open(nebula.url, { dark: true });
  await v.go("/login");
  await v.settled();
  await v.page.evaluate(() => {
    const main = document.querySelector("main")!;
    main.append(document.createElement("button"));
    main.append(Object.assign(document.createElement("p"), { style: "color: #333; background: #222", textContent: "Hardly to be read" }));
  });
  expect((await v.axe()).map((found) => found.split(":")[0])).toEqual(["button-name", "color-contrast"]);
  await v.close();
});

// Two of the four are enough for what axe can find: each scheme and each language is in one of them.
describe.each([
  { zh: false, dark: false },
  { zh: true, dark: true },
])("zh $zh, dark $dark", ({ zh, dark }) => {
  const language = zh ? "zh" : "en";

  async function look(v: Visitor, name: string, path: string) {
    await v.settled();
    expect.soft(await v.axe(), path).toEqual([]);
    expect.soft(await v.page.evaluate(() => document.documentElement.lang), path).toBe(zh ? "zh-CN" : "en");
    expect.soft(await v.tooWide(), `${path} is wider than the window`).toBe(0);
    if (!shots) return;
    for (const d of [dark, !dark]) {
      await v.scheme(d);
      await v.picture(join(shots, `${name}-${language}-${d ? "dark" : "light"}.webp`));
    }
    await v.scheme(dark);
  }

  test("before logging in", async () => {
    for (const path of ["/login", "/setup"]) {
      const v = await Visitor.open(nebula.url, { zh, dark });
      await v.go(path);
      await look(v, path.slice(1), path);
      await v.close();
    }
  });

  test("every page", async () => {
    const v = await Visitor.as(nebula.url, "ada", "/", { zh, dark });
    const node = (await nebula.api<{ node_id: string }[]>("GET", "/api/v2/nodes"))[0]!.node_id;
    for (const p of [...all, { name: "node", path: `/nodes/${encodeURIComponent(node)}` }]) {
      await v.turnTo(p.path);
      await look(v, p.name, p.path);
    }
    await v.close();
  });

  test("nothing is wider than a telephone", async () => {
    const v = await Visitor.as(nebula.url, "ada", "/", { zh, dark, width: 390, height: 800 });
    for (const p of all) {
      await v.turnTo(p.path);
      await v.settled();
      expect.soft(await v.tooWide(), p.path).toBe(0);
    }
    await v.close();
  });
});
