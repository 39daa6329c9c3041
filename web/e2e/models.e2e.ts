// Models in the list and on their own pages: what people do with them all day.
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { closeBrowser, type Page, Visitor } from "./browser";
import { Nebula, until } from "./nebula";

let n: Nebula;
beforeAll(async () => {
  n = await Nebula.start();
  n.cli([
    "template",
    "create",
    "--id",
    "tiny",
    "--name",
    "Tiny",
    "--model-name",
    "acme/Tiny-GGUF",
    "--engine",
    "llamacpp",
    "--category",
    "llm",
  ]);
});
beforeEach(() => n.hubIs({}));
afterAll(async () => {
  await closeBrowser();
  await n?.end();
});

const row = (page: Page, uid: string) => page.locator(`tr[data-row="${uid}"]`);

async function remove(uid: string) {
  await n.api("DELETE", `/api/v2/models/${uid}`).catch(() => {});
}

test("the whole life of a model: template, download, chat, scale, stop, delete", async () => {
  const v = await Visitor.as(n.url, "ada", "/templates");
  const { page } = v;
  await n.hubIs({ BytesPerSecond: 60_000 }); // some seconds of a download to look at
  await page
    .getByRole("textbox", { name: /search/i })
    .first()
    .fill("tiny");
  await page
    .getByRole("button", { name: /^Deploy/ })
    .first()
    .click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel(/uid/i).fill("life");
  await dialog.getByRole("button", { name: /^Deploy/ }).click();
  await page.waitForURL(/\/models\/life/);
  await page.getByText("downloading", { exact: true }).first().waitFor();
  await page.getByRole("progressbar").or(page.getByRole("meter")).first().waitFor();
  await n.hubIs({});
  await page.getByText("running", { exact: true }).first().waitFor();

  await page.getByRole("link", { name: "Try it" }).click();
  await page.waitForURL(/\/playground\?model=life/);
  await page.getByRole("textbox", { name: "Prompt", exact: true }).fill("Hello?");
  await page.keyboard.press("Enter");
  await page.getByText("everything that was downloaded is whole").first().waitFor();

  await v.go("/models/life");
  await page.getByRole("button", { name: "Scale" }).click();
  await page.getByRole("dialog").getByRole("textbox").fill("2");
  await page.getByRole("dialog").getByRole("button", { name: "Scale" }).click();
  await until(
    "two replicas",
    async () => (await n.api<{ replicas: { ready: number } }>("GET", "/api/v2/models/life")).replicas.ready === 2,
  );
  await page.getByText("2 of 2 replicas ready").waitFor();

  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByText("stopped", { exact: true }).first().waitFor();

  await page.getByRole("button", { name: "More actions" }).click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  const sure = page.getByRole("dialog");
  expect(await sure.getByRole("button", { name: "Delete" }).isDisabled()).toBe(true);
  await sure.getByRole("textbox").fill("lif");
  expect(await sure.getByRole("button", { name: "Delete" }).isDisabled()).toBe(true);
  await sure.getByRole("textbox").fill("life");
  await sure.getByRole("button", { name: "Delete" }).click();
  await until("life is gone", async () =>
    (await n.api<{ model_uid: string }[]>("GET", "/api/v2/models")).every((m) => m.model_uid !== "life"),
  );
  await v.close();
});

test("filters are in the address: a link and the back button bring them again", async () => {
  for (const [uid, team] of [
    ["aa-one", "search"],
    ["aa-two", "ads"],
    ["bb-three", "search"],
  ])
    n.cli(["model", "create", "acme/Tiny-GGUF", "--uid", uid!, "--label", `team=${team}`]);
  const v = await Visitor.as(n.url, "ada", "/models");
  const { page } = v;
  await row(page, "aa-one").waitFor();
  const search = page.getByRole("searchbox");
  await search.fill("aa-");
  await row(page, "bb-three").waitFor({ state: "detached" });
  await page.getByRole("combobox", { name: "Label" }).focus();
  await page.getByRole("combobox", { name: "Label" }).selectOption("team=search");
  await row(page, "aa-two").waitFor({ state: "detached" });
  expect(new URL(page.url()).searchParams.get("q")).toBe("aa-");
  const shared = page.url();
  await page.goBack();
  await row(page, "aa-two").waitFor();
  await page.goto(shared);
  await row(page, "aa-one").waitFor();
  expect(await page.locator("tr[data-row]").count()).toBe(1);
  await search.fill("no such thing");
  await page.getByText("No model matches").waitFor();
  await page.getByRole("button", { name: "Show all models" }).click();
  await row(page, "bb-three").waitFor();
  await page.getByRole("button", { name: /^State/ }).click();
  await page.waitForURL(/sort=/);
  for (const uid of ["aa-one", "aa-two", "bb-three"]) await remove(uid);
  await v.close();
});

test("by engine: the address and the list follow the choice, and the back button takes it back", async () => {
  n.cli(["model", "create", "acme/Tiny-GGUF", "--uid", "eng-llama", "--engine", "llamacpp"]);
  n.cli(["model", "create", "acme/Tiny", "--uid", "eng-vllm", "--engine", "vllm"]);
  const v = await Visitor.as(n.url, "ada", "/models?q=eng-");
  const { page } = v;
  const engine = page.getByRole("combobox", { name: "Engine" });
  const chosen = () => new URL(page.url()).searchParams.get("engine");
  await row(page, "eng-vllm").waitFor();
  await engine.selectOption("llamacpp");
  await row(page, "eng-vllm").waitFor({ state: "detached" });
  await row(page, "eng-llama").waitFor();
  expect(chosen()).toBe("llamacpp");
  await engine.selectOption("vllm"); // the others can still be chosen
  await row(page, "eng-vllm").waitFor();
  await row(page, "eng-llama").waitFor({ state: "detached" });
  expect(chosen()).toBe("vllm");
  await engine.selectOption({ label: "Any engine" });
  await row(page, "eng-llama").waitFor();
  expect(chosen()).toBe(null);
  await page.goBack();
  await page.goBack();
  await row(page, "eng-vllm").waitFor({ state: "detached" });
  expect([chosen(), await engine.inputValue()]).toEqual(["llamacpp", "llamacpp"]);
  await page.goBack();
  await row(page, "eng-vllm").waitFor();
  expect([chosen(), await engine.inputValue()]).toEqual([null, ""]);
  for (const uid of ["eng-llama", "eng-vllm"]) await remove(uid);
  await v.close();
});

test("a long list shows the rows of the place that it is scrolled to, under its head", async () => {
  const uids = Array.from({ length: 150 }, (_, i) => `row-${String(i).padStart(3, "0")}`);
  for (const uid of uids)
    await n.api("POST", "/api/v2/models", { model_uid: uid, model_name: uid, model_source: "local", model_path: "/nowhere/x.gguf" });
  const v = await Visitor.as(n.url, "ada", "/models?q=row-");
  const { page } = v;
  await row(page, "row-000").waitFor();
  const list = page.locator(".grid-table");
  const height = (await list.evaluate((e) => e.clientHeight)) - (await list.locator("thead").evaluate((e) => e.clientHeight));
  for (const at of [0, 40, 99, 100, 149]) {
    await list.evaluate((e, top) => e.scrollTo(0, top), Math.max(0, at * 58 - height + 58));
    await until(`row ${at} is in sight`, () =>
      list.evaluate((e, uid) => {
        const seen = e.getBoundingClientRect();
        const r = e.querySelector(`[data-row="${uid}"]`)?.getBoundingClientRect();
        return r !== undefined && r.top >= seen.top && r.bottom <= seen.bottom + 1;
      }, uids[at]!),
    );
    expect(await list.evaluate((e) => e.querySelector("thead")!.getBoundingClientRect().top - e.getBoundingClientRect().top)).toBeCloseTo(
      0,
      0,
    );
  }
  await v.close();
  for (const uid of uids) await remove(uid);
});

test("many at once: what failed is named, with its reason", async () => {
  for (const uid of ["many-a", "many-b", "many-c"]) n.cli(["model", "create", "acme/Tiny-GGUF", "--uid", uid]);
  const v = await Visitor.as(n.url, "ada", "/models?q=many-");
  const { page } = v;
  await row(page, "many-c").waitFor();
  await page.getByRole("checkbox", { name: "Select all rows" }).check();
  await page.getByRole("toolbar").getByRole("button", { name: "Delete" }).click();
  const dialog = page.getByRole("dialog");
  await remove("many-b"); // somebody else is quicker
  await dialog.getByRole("textbox").fill("delete 3 models");
  await dialog.getByRole("button", { name: "Delete" }).click();
  await dialog.getByText("2 of 3 done").waitFor();
  await dialog.getByText("many-b").waitFor();
  await v.close();
});

test("the reason of a failure is on the screen, and trying again works", async () => {
  n.cli(["model", "create", "acme/Later-GGUF", "--uid", "unlucky", "--start"]);
  const v = await Visitor.as(n.url, "otto", "/models/unlucky");
  await v.page.getByText("failed", { exact: true }).first().waitFor();
  const reason = (await n.api<{ reason: { message: string } }>("GET", "/api/v2/models/unlucky")).reason.message;
  expect((await v.page.locator("main").innerText()).toLowerCase()).toContain(reason.slice(0, 30).toLowerCase());
  await n.hubHas("acme/Later-GGUF", "Here at last.");
  await v.page.getByRole("button", { name: "Stop" }).click();
  await v.page.getByRole("button", { name: "Start" }).click();
  await until("it runs after all", async () => (await n.state("unlucky")) === "running", 90_000);
  await v.page.getByText("running", { exact: true }).first().waitFor();
  await remove("unlucky");
  await v.close();
});

test("a log follows its engine", async () => {
  await n.running("talker");
  const v = await Visitor.as(n.url, "ada", "/models/talker?tab=logs");
  await v.page
    .getByText(/llama|model/i)
    .first()
    .waitFor();
  await v.page.getByText("Following").waitFor();
  const before = await v.page.locator(".log, pre").first().innerText();
  await n.api("POST", "/v1/chat/completions", { model: "talker", messages: [{ role: "user", content: "Say something" }] });
  await until("the log has grown", async () => (await v.page.locator(".log, pre").first().innerText()).length > before.length);
  await v.close();
});

test("what happened to a model is told, newest first", async () => {
  const v = await Visitor.as(n.url, "ada", "/models/talker?tab=events");
  await v.page.getByRole("table").or(v.page.getByRole("list")).first().waitFor();
  await n.api("PUT", "/api/v2/models/talker/scale", { replicas: 2 });
  await v.page.getByText(/scale/i).first().waitFor();
  await v.close();
});

test("figures are those of the engine", async () => {
  const v = await Visitor.as(n.url, "ada", "/models/talker?tab=figures");
  await v.page.getByText("Tokens made", { exact: true }).first().waitFor();
  await n.api("POST", "/v1/chat/completions", { model: "talker", messages: [{ role: "user", content: "Say something" }] });
  await until("tokens are counted", async () => {
    const figures = await n.api<{ replicas: { model_uid: string; generation_tokens_total?: number }[] }>(
      "GET",
      "/api/v2/endpoints/figures",
    );
    return figures.replicas.some((r) => r.model_uid === "talker" && (r.generation_tokens_total ?? 0) > 0);
  });
  await v.page.getByRole("region", { name: "Requests, the last minutes" }).locator("svg.recharts-surface").first().waitFor();
  expect(await v.axe()).toEqual([]);
  const table = v.page.getByRole("table", { name: "Figures by replica" });
  expect(await table.evaluate((e) => e.parentElement!.scrollWidth - e.parentElement!.clientWidth)).toBe(0); // nothing is out of sight
  await v.close();
});

test("a model is saved as a template", async () => {
  const v = await Visitor.as(n.url, "ada", "/models/talker");
  await v.page.getByRole("button", { name: "More actions" }).click();
  await v.page.getByRole("menuitem", { name: "Save as template" }).click();
  const dialog = v.page.getByRole("dialog");
  await dialog.getByLabel("Name").fill("From talker");
  await dialog.getByRole("button", { name: "Save" }).click();
  await until("the template is there", async () =>
    (await n.api<{ name: string }[]>("GET", "/api/v2/templates")).some((t) => t.name === "From talker"),
  );
  await v.close();
});
