// The page that makes models: every way to begin, what is told before anything is made, and what it refuses.
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { closeBrowser, type Page, Visitor } from "./browser";
import { Nebula, until } from "./nebula";

type Detail = { model_uid: string; state: string; revision: number; spec: Record<string, unknown>; labels?: Record<string, string> };

let n: Nebula;
let file: string;
beforeAll(async () => {
  n = await Nebula.start();
  file = n.demoModel("local", "From a path.");
});
afterAll(async () => {
  await closeBrowser();
  await n?.end();
});

const create = (page: Page) => page.getByRole("button", { name: "Create", exact: true });
const uids = async () => (await n.api<{ model_uid: string }[]>("GET", "/api/v2/models")).map((m) => m.model_uid).sort();
const detail = (uid: string) => n.api<Detail>("GET", `/api/v2/models/${uid}`);

/** A spec without who wrote it when. */
const wished = ({ created_at_ms: _c, created_by: _b, updated_at_ms: _u, updated_by: _w, ...spec }: Record<string, unknown>) => spec;

/** Deletes a model and waits until nothing of it is left. */
async function remove(uid: string) {
  await n.api("DELETE", `/api/v2/models/${uid}`);
  await until(`${uid} is gone`, async () => !(await uids()).includes(uid));
}

/** Chooses the source in the form and fills in a model at a path. */
async function describe(page: Page, name: string, path: string) {
  await page
    .getByRole("combobox", { name: "Source" })
    .or(page.getByRole("textbox", { name: "Source" }))
    .first()
    .click();
  await page.getByRole("option", { name: "Local path" }).click();
  await page.getByLabel("Name", { exact: false }).first().fill(name);
  await page.getByLabel(/^Path/).fill(path);
}

test.each([
  ["Hugging Face", "hugging_face"],
  ["ModelScope", "model_scope"],
])("a search of %s: what is chosen is registered, and nothing is downloaded", async (hub, source) => {
  const v = await Visitor.as(n.url, "otto", "/new?from=hub");
  const { page } = v;
  await page.getByRole("radiogroup", { name: "Hub" }).getByText(hub, { exact: true }).click();
  await page.getByRole("searchbox", { name: "Search the hub" }).fill("no-such-thing");
  await page.getByText("The hub knows no such model").waitFor();
  await page.getByRole("searchbox", { name: "Search the hub" }).fill("acme");
  const found = page.getByRole("group", { name: "Hub search" });
  await found.getByRole("button", { name: /acme\/Gated-GGUF.*needs a token/s }).waitFor();
  await found.getByRole("button", { name: /acme\/Tiny-GGUF/ }).click();
  await page.getByLabel("uid", { exact: true }).fill(`found-${source.replace("_", "-")}`);
  await page.getByRole("switch", { name: "Start it at once" }).uncheck();
  await page.getByText("It can be registered. It runs once you start it.").waitFor();
  await create(page).click();
  await page.waitForURL(/\/models\/found-/);
  await page.getByText("stopped", { exact: true }).first().waitFor();
  const made = await detail(`found-${source.replace("_", "-")}`);
  expect(made.state).toBe("stopped");
  expect(made.spec).toMatchObject({ model_name: "acme/Tiny-GGUF", model_source: source });
  expect(await n.api("GET", "/api/v2/cache/summary")).toMatchObject({ total_cached_models: 0, total_cache_size_bytes: 0 });
  await v.close();
  await remove(made.model_uid);
});

test("from a path: where it would run is told first, then it runs", async () => {
  const v = await Visitor.as(n.url, "otto", "/new?from=manual");
  const { page } = v;
  await page.getByText("Say which model, and this shows where it would run.").waitFor();
  await describe(page, "local-model", file);
  await page.getByLabel("uid", { exact: true }).fill("by-path");
  await page
    .getByRole("status")
    .getByText(/^It fits/)
    .waitFor();
  expect(await uids()).toEqual([]); // it was only asked
  await create(page).click();
  await page.waitForURL(/\/models\/by-path/);
  await page.getByText("running", { exact: true }).first().waitFor();
  await v.close();
  await remove("by-path");
});

test("the command that the page shows makes the same model in a real shell", async () => {
  const v = await Visitor.as(n.url, "ada", "/new?from=manual");
  const { page } = v;
  await describe(page, 'it\'s $HOME; `of` "mine"', file);
  await page.getByLabel("uid", { exact: true }).fill("twin");
  await page.getByLabel("Context length, tokens").fill("1024");
  await page.getByLabel("Labels").fill("team=search\nmood=splendid");
  await page.getByRole("switch", { name: "Start it at once" }).uncheck();
  await page.getByText("It can be registered").waitFor();
  await page.getByRole("button", { name: "Copy: Command" }).click();
  const command = await page.evaluate(() => navigator.clipboard.readText());
  expect(command).toMatch(/^nebula model create /);
  await page.getByRole("button", { name: "Copy: File for nebula apply" }).click();
  const document = await page.evaluate(() => navigator.clipboard.readText());
  await create(page).click();
  await page.waitForURL(/\/models\/twin/);
  const ofPage = await detail("twin");
  await v.close();
  await remove("twin");
  n.shell(command);
  const ofShell = await detail("twin");
  expect(wished(ofShell.spec)).toEqual(wished(ofPage.spec));
  expect(ofShell.labels).toEqual(ofPage.labels);
  await remove("twin");
  n.cli(["apply", "-f", "-"], document);
  const ofFile = await detail("twin");
  expect(wished(ofFile.spec)).toEqual(wished(ofPage.spec));
  expect(ofFile.labels).toEqual(ofPage.labels);
  await remove("twin");
});

test("what is wrong is said at its field in the server's words, and nothing is made", async () => {
  n.cli(["model", "create", "acme/Tiny-GGUF", "--uid", "taken"]);
  const v = await Visitor.as(n.url, "otto", "/new?from=manual");
  const { page } = v;
  await page.getByLabel("Name", { exact: false }).first().fill("acme/Tiny-GGUF");
  const uid = page.getByLabel("uid", { exact: true });
  // What is said of a field that is marked as wrong, read at one moment.
  const told = (field: typeof uid) =>
    field.evaluate(
      (e) =>
        e.getAttribute("aria-invalid") === "true" &&
        (e.getAttribute("aria-describedby") ?? "")
          .split(" ")
          .map((id) => document.getElementById(id)?.textContent ?? "")
          .join(" "),
    );
  await uid.fill("Not / good");
  expect(await until("the uid is refused", () => told(uid))).toContain("does not match");
  await create(page).click();
  await page.getByText("The model is not created").waitFor();
  await uid.fill("taken");
  await until("the uid is refused, as it is taken", async () => /exists|already/i.test(await page.getByRole("alert").first().innerText()));
  await create(page).click();
  await page.getByText("The model is not created").waitFor();
  await uid.fill("nowhere");
  await describe(page, "nowhere", "relative/path.gguf");
  expect(await until("the path is refused", () => told(page.getByLabel(/^Path/)))).toMatch(/absolute/i);
  await page.getByLabel("Context length, tokens").fill("many");
  expect(await told(page.getByLabel("Context length, tokens"))).toContain("Enter a number");
  expect(await create(page).isDisabled()).toBe(true);
  expect(await uids()).toEqual(["taken"]);
  await v.close();
  await remove("taken");
});

test("a path where nothing is: the model's page says so", async () => {
  const v = await Visitor.as(n.url, "otto", "/new?from=manual");
  const { page } = v;
  await describe(page, "nowhere", join(n.dir, "not-there.gguf"));
  await page.getByLabel("uid", { exact: true }).fill("nowhere");
  await create(page).click();
  await page.waitForURL(/\/models\/nowhere/);
  await page.getByText("failed", { exact: true }).first().waitFor();
  await page
    .getByText(/not-there\.gguf/)
    .first()
    .waitFor();
  await v.close();
  await remove("nowhere");
});

test("pressed twice, it is made once", async () => {
  const v = await Visitor.as(n.url, "otto", "/new?from=manual");
  const { page } = v;
  await page.getByLabel("Name", { exact: false }).first().fill("acme/Tiny-GGUF");
  await page.getByRole("switch", { name: "Start it at once" }).uncheck();
  await page.getByText("It can be registered").waitFor();
  await create(page).dblclick();
  await page.waitForURL(/\/models\/./);
  await page.getByText("stopped", { exact: true }).first().waitFor();
  const made = await uids();
  expect(made).toHaveLength(1); // the page chose no uid: each request of its own would have made another
  await v.close();
  await remove(made[0]!);
});

test("a template that the address names is taken", async () => {
  n.cli([
    "template",
    "create",
    "--id",
    "small",
    "--name",
    "Small",
    "--model-name",
    "acme/Tiny-GGUF",
    "--engine",
    "llamacpp",
    "--category",
    "llm",
  ]);
  const v = await Visitor.as(n.url, "otto", "/new?template=small");
  const { page } = v;
  await page.getByRole("button", { name: /^Small/, pressed: true }).waitFor();
  expect(await page.getByLabel("Name", { exact: false }).first().inputValue()).toBe("acme/Tiny-GGUF");
  expect(await page.getByLabel("Engine").first().inputValue()).toBe("llamacpp");
  await page
    .getByRole("status")
    .getByText(/^It fits/)
    .waitFor();
  await v.close();
});
