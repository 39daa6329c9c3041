// What somebody sees who only watches, while engines die, servers restart and other people are at work.
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { closeBrowser, Visitor } from "./browser";
import { Nebula, until } from "./nebula";

let n: Nebula;
beforeAll(async () => {
  n = await Nebula.start();
  await n.running("demo", "I am the demo.");
});
afterAll(async () => {
  await closeBrowser();
  await n?.end();
});

type Detail = { labels: Record<string, string>; spec: { config: { max_model_len?: number } } };

/** The process of a model's engine: every engine has its identity in its environment, and so has the shim above it. */
function engineOf(uid: string): number {
  for (const pid of readdirSync("/proc").filter((d) => /^\d+$/.test(d))) {
    try {
      const environ = readFileSync(`/proc/${pid}/environ`, "utf8");
      const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      if (environ.includes(n.dir) && environ.includes("NEBULA_REPLICA=") && argv.includes(`${uid}.gguf`) && !argv.includes("shim"))
        return Number(pid);
    } catch {
      // it has ended, or is somebody else's
    }
  }
  throw new Error(`no engine of ${uid} runs`);
}

test("an engine that is killed: the state goes, and comes back by itself", async () => {
  const v = await Visitor.as(n.url, "vera", "/models/demo");
  await v.page.getByText("running", { exact: true }).first().waitFor();
  const states: string[] = [];
  await v.page.exposeFunction("noteState", (s: string) => states.at(-1) !== s && states.push(s));
  await v.page.evaluate(() => {
    const note = () =>
      (window as unknown as { noteState: (s: string) => void }).noteState(
        document.querySelector("main")!.innerText.match(/\b(running|starting|degraded|failed)\b/)?.[0] ?? "",
      );
    new MutationObserver(note).observe(document.body, { childList: true, subtree: true, characterData: true });
  });
  process.kill(engineOf("demo"), "SIGKILL");
  await until("the page has shown that it does not run", () => states.some((s) => s !== "running" && s !== ""));
  await until("the page shows that it runs again", () => states.at(-1) === "running", 90_000);
  await v.close();
});

test("a server that restarts: the page says so, and goes on without being loaded again", async () => {
  const v = await Visitor.as(n.url, "ada", "/models");
  await v.page.locator('tr[data-row="demo"]').waitFor();
  await v.page.evaluate(() => {
    (window as unknown as { same: boolean }).same = true;
  });
  await n.down();
  try {
    await v.page.getByText("Offline").first().waitFor();
    expect(await v.page.locator('tr[data-row="demo"]').count()).toBe(1); // what was known stays
  } finally {
    await n.up();
  }
  n.cli(["model", "create", "acme/Tiny-GGUF", "--uid", "newcomer"]);
  await v.page.locator('tr[data-row="newcomer"]').waitFor();
  expect(await v.page.evaluate(() => (window as unknown as { same?: boolean }).same)).toBe(true);
  await v.close();
});

test("a change by somebody else is there at once", async () => {
  const v = await Visitor.as(n.url, "vera", "/models");
  await v.page.locator('tr[data-row="newcomer"]').waitFor();
  await n.api("PATCH", "/api/v2/models/newcomer", { labels: { mood: "splendid" } });
  await v.page.locator('tr[data-row="newcomer"]').getByText("splendid").waitFor();
  await n.api("DELETE", "/api/v2/models/newcomer");
  await v.page.locator('tr[data-row="newcomer"]').waitFor({ state: "detached" });
  await v.close();
});

test("two people edit one model: the second sees what the first did, and nothing is lost", async () => {
  n.cli(["model", "create", "acme/Tiny-GGUF", "--uid", "shared", "--label", "owner=nobody"]);
  const ada = await Visitor.as(n.url, "ada", "/models/shared");
  await ada.page.getByRole("button", { name: "Edit" }).click();
  const dialog = ada.page.getByRole("dialog");
  await dialog.waitFor();
  await n.api("PATCH", "/api/v2/models/shared", { labels: { owner: "otto" } });
  await dialog.getByLabel(/Context length/).fill("2048");
  await dialog.getByText("It has changed meanwhile").waitFor();
  await dialog.getByRole("table", { name: "What changed meanwhile" }).getByText("owner=otto").waitFor();
  expect(await dialog.getByRole("button", { name: "Save" }).isDisabled()).toBe(true);
  await dialog.getByRole("button", { name: "Keep what I have entered, on top of it" }).click();
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.waitFor({ state: "detached" });
  const both = await n.api<Detail>("GET", "/api/v2/models/shared");
  expect(both.labels).toEqual({ owner: "otto" });
  expect(both.spec.config.max_model_len).toBe(2048);
  await ada.close();
});

test("a model that is deleted while somebody looks says so", async () => {
  const v = await Visitor.as(n.url, "vera", "/models/shared");
  await v.page.getByText("stopped", { exact: true }).first().waitFor();
  await n.api("DELETE", "/api/v2/models/shared");
  await v.page.getByText("This model has been deleted").waitFor();
  await v.page.getByRole("link", { name: "To the models" }).click();
  await v.page.locator('tr[data-row="demo"]').waitFor();
  await v.close();
});

test("a viewer sees everything and no button that changes it", async () => {
  const changing =
    /^(Start|Stop|Scale|Edit|Delete|More actions|New model|Deploy|Cordon|Drain|Uncordon|Remove|Add a node|Pin|Unpin|Prune|Pull|Evict|Run|New user|New template)\b/;
  const v = await Visitor.as(n.url, "vera", "/");
  for (const path of ["/", "/models", "/models/demo", "/models/demo?tab=replicas", "/templates", "/nodes", "/cache"]) {
    await v.turnTo(path);
    await v.settled();
    const buttons = await v.page.getByRole("main").getByRole("button").or(v.page.getByRole("main").getByRole("link")).allInnerTexts();
    expect
      .soft(
        buttons.filter((b) => changing.test(b.trim())),
        path,
      )
      .toEqual([]);
  }
  await v.go("/audit");
  await v.page.getByText("You may not do this").first().waitFor();
  await v.close();
});

test("when all connections of a browser are taken, pages look every eight seconds instead", async () => {
  const v = await Visitor.as(n.url, "ada", "/models");
  const tabs = [v.page];
  for (let i = 0; i < 6; i++) {
    const tab = await v.context.newPage();
    v.watch(tab);
    await tab.goto(`${n.url}/models`);
    await tab.locator('tr[data-row="demo"]').waitFor();
    tabs.push(tab);
  }
  const last = tabs.at(-1)!;
  await last.getByText("Every 8 seconds").first().waitFor();
  n.cli(["model", "create", "acme/Tiny-GGUF", "--uid", "late"]);
  await last.locator('tr[data-row="late"]').waitFor();
  await n.api("DELETE", "/api/v2/models/late");
  await v.close();
});
