// Nodes, their files, templates and what version 1 has left: what looking after a fleet takes.
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { closeBrowser, type Page, Visitor } from "./browser";
import { Nebula, until } from "./nebula";

let n: Nebula;
let node: string;
beforeAll(async () => {
  n = await Nebula.start();
  node = (await n.api<{ node_id: string }[]>("GET", "/api/v2/nodes"))[0]!.node_id;
});
beforeEach(() => n.hubIs({}));
afterAll(async () => {
  await closeBrowser();
  await n?.end();
});

const dialog = (page: Page) => page.getByRole("dialog");

test("a node that is cordoned: the model's page says why it waits, and it runs when the node is back", async () => {
  const v = await Visitor.as(n.url, "otto", `/nodes/${encodeURIComponent(node)}`);
  const { page } = v;
  await page.getByRole("button", { name: "Cordon" }).click();
  await page.getByRole("main").getByText("cordoned", { exact: true }).first().waitFor();
  n.cli(["model", "create", "--uid", "waits", "--path", n.demoModel("waits", "At last."), "--engine", "llamacpp", "--start"]);
  await v.go("/models/waits");
  await page
    .getByRole("main")
    .getByText(/cordoned and takes? nothing new/i)
    .first()
    .waitFor();
  await page
    .getByRole("main")
    .getByText(/nebula node uncordon/)
    .first()
    .waitFor(); // and what would help
  await v.go(`/nodes/${encodeURIComponent(node)}`);
  await page.getByRole("button", { name: "Uncordon" }).click();
  await page.getByRole("button", { name: "Cordon", exact: true }).waitFor();
  await v.go("/models/waits");
  await page.getByText("running", { exact: true }).first().waitFor();
  expect(
    await page
      .getByRole("main")
      .getByText(/nothing new/i)
      .count(),
  ).toBe(0);
  await v.close();
  await n.api("DELETE", "/api/v2/models/waits");
});

test("files: pulled with progress, kept while pinned or wanted, and pruned after that", async () => {
  await n.hubIs({ BytesPerSecond: 60_000 });
  const v = await Visitor.as(n.url, "ada", "/cache");
  const { page } = v;
  await page.getByText("No model files yet").waitFor();
  await page.getByRole("button", { name: "Pull files" }).click();
  await dialog(page).getByLabel("Name at the source").fill("acme/Tiny-GGUF");
  expect(await dialog(page).getByRole("button", { name: "Pull", exact: true }).isDisabled()).toBe(true); // to no node yet
  await dialog(page).getByLabel("To every node that reports").check();
  await dialog(page).getByRole("button", { name: "Pull", exact: true }).click();
  const meter = page.getByRole("meter").or(page.getByRole("progressbar")).and(page.getByLabel("Download of acme/Tiny-GGUF"));
  const share = async () => Number(await meter.getAttribute("aria-valuenow"));
  const first = await until("something has come", share);
  await until("more has come", async () => (await share()) > first);
  await n.hubIs({});
  const pulls = page
    .getByRole("region", { name: "On their way" })
    .or(page.getByRole("table", { name: "Pulls" }))
    .first();
  await pulls.getByText("complete", { exact: true }).first().waitFor();
  await page.getByRole("button", { name: "Pin: acme/Tiny-GGUF" }).click();
  await page.getByRole("table", { name: "Model files in the cluster" }).getByText("pinned", { exact: true }).waitFor();

  const preview = async () => {
    await page.getByRole("button", { name: "Prune", exact: true }).click();
    await dialog(page).getByLabel("Every model that nothing on the node needs").check();
    await dialog(page).getByRole("button", { name: "Show what would go" }).click();
    return dialog(page).getByRole("table", { name: "What a prune removes and keeps" }).locator("tr[data-row]").first();
  };
  const close = async () => {
    await dialog(page).getByRole("button", { name: "Close" }).click();
    await dialog(page).waitFor({ state: "detached" });
  };
  const kept = await preview();
  await kept.getByText("stays", { exact: true }).waitFor();
  expect(await kept.innerText()).toMatch(/pinned/i);
  expect(
    await dialog(page)
      .getByRole("button", { name: /^Remove/ })
      .count(),
  ).toBe(0);
  await close();

  await page.getByRole("button", { name: "Unpin: acme/Tiny-GGUF" }).click();
  await page.getByRole("button", { name: "Pin: acme/Tiny-GGUF" }).waitFor();
  const wanted = await preview();
  await wanted.getByText("stays", { exact: true }).waitFor(); // the pull wants them for a day
  await close();

  await page.getByRole("button", { name: /^Dismiss: acme\/Tiny-GGUF/ }).click();
  await page.getByRole("button", { name: /^Dismiss: acme\/Tiny-GGUF/ }).waitFor({ state: "detached" });
  await until("nothing keeps them", async () => {
    const told = await n.api<{ removed: unknown[] }>("POST", `/api/v2/nodes/${node}/cache/prune/dry-run`, { all_unused: true });
    return told.removed.length > 0;
  });
  const goes = await preview();
  await goes.getByText("would go", { exact: true }).waitFor();
  await dialog(page)
    .getByRole("button", { name: /^Remove, which frees/ })
    .click();
  await dialog(page).waitFor({ state: "detached" });
  await page.getByText("No model files yet").waitFor();
  await v.close();
});

test("files of one model: evicted from a node, unless they are pinned, with what that frees told before", async () => {
  n.cli(["cache", "pull", "acme/Tiny-GGUF", "--node", node, "--wait"]);
  n.cli(["cache", "cancel", "acme/Tiny-GGUF"]); // the pull would keep them for a day
  n.cli(["cache", "pin", "acme/Tiny-GGUF", "--node", node]);
  const v = await Visitor.as(n.url, "ada", `/nodes/${encodeURIComponent(node)}`);
  const { page } = v;
  const evict = page.getByRole("button", { name: "Evict: acme/Tiny-GGUF" });
  await evict.click();
  await dialog(page)
    .getByText(/are pinned on node/)
    .waitFor();
  expect(
    await dialog(page)
      .getByRole("button", { name: /^Remove/ })
      .count(),
  ).toBe(0);
  await dialog(page).getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "Unpin: acme/Tiny-GGUF" }).click();
  await page.getByRole("button", { name: "Pin: acme/Tiny-GGUF" }).waitFor();
  await until("nothing keeps them", async () => {
    const told = await n.api<{ removed: unknown[] }>("POST", `/api/v2/nodes/${node}/cache/prune/dry-run`, { all_unused: true });
    return told.removed.length > 0;
  });
  await evict.click();
  const remove = dialog(page).getByRole("button", { name: /^Remove, which frees [1-9]/ });
  await remove.click();
  await dialog(page).waitFor({ state: "detached" });
  await evict.waitFor({ state: "detached" });
  await v.close();
  const viewer = await Visitor.as(n.url, "otto", `/nodes/${encodeURIComponent(node)}`);
  expect(await viewer.page.getByRole("button", { name: /^Evict/ }).count()).toBe(0);
  await viewer.close();
});

test("a template: made, changed by two people without a loss, deployed and deleted", async () => {
  const v = await Visitor.as(n.url, "otto", "/templates");
  const { page } = v;
  await page.getByRole("button", { name: "New template" }).click();
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await dialog(page).getByText("This is needed").first().waitFor();
  await dialog(page).getByLabel("Name", { exact: false }).first().fill("Own words");
  await dialog(page).getByLabel("Template id").fill("own-words");
  await dialog(page).getByLabel("Model name").fill("acme/Tiny-GGUF");
  await dialog(page).getByLabel("Engine").selectOption("llamacpp");
  await dialog(page).getByRole("button", { name: "Save" }).click();
  const card = page.getByRole("article", { name: "Own words" });
  await card.waitFor();

  const edit = async () => {
    await card.getByRole("button", { name: "More for Own words" }).click();
    await page.getByRole("menuitem", { name: "Edit" }).click();
    await dialog(page).getByLabel("Description").waitFor();
  };
  await edit();
  await n.api("PUT", "/api/v2/templates/own-words", { licence: "MIT" });
  await dialog(page).getByLabel("Description").fill("Written by otto");
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await dialog(page).getByText("It has changed meanwhile").waitFor();
  await dialog(page).getByRole("table", { name: "What changed meanwhile" }).getByText("MIT").waitFor();
  const before = await n.api<{ description?: string }>("GET", "/api/v2/templates/own-words");
  expect(before.description ?? "").toBe(""); // nothing was overwritten
  await dialog(page).getByRole("button", { name: "Keep what I have entered, on top of it" }).click();
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await dialog(page).waitFor({ state: "detached" });
  expect(await n.api("GET", "/api/v2/templates/own-words")).toMatchObject({ description: "Written by otto", licence: "MIT" });
  await card.getByText("Written by otto").waitFor();

  await card.getByRole("button", { name: "Deploy: Own words" }).click();
  await dialog(page).getByLabel("Model uid").fill("own");
  await dialog(page).getByRole("button", { name: "Check without deploying" }).click();
  await dialog(page)
    .getByText(/^It fits/)
    .waitFor();
  expect(await n.api<unknown[]>("GET", "/api/v2/models").then((m) => JSON.stringify(m))).not.toContain('"own"');
  await dialog(page).getByRole("button", { name: "Deploy", exact: true }).click();
  await page.waitForURL(/\/models\/own$/);
  await page.getByText("running", { exact: true }).first().waitFor();

  await v.go("/templates");
  await card.getByRole("button", { name: "More for Own words" }).click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  const sure = dialog(page).getByRole("button", { name: "Delete", exact: true });
  await dialog(page).getByRole("textbox").fill("Own words");
  expect(await sure.isDisabled()).toBe(true);
  await dialog(page).getByRole("textbox").fill("own-words");
  await sure.click();
  await card.waitFor({ state: "detached" });
  expect(await n.state("own")).toBe("running"); // what was made of it stays
  await v.close();
  await n.api("DELETE", "/api/v2/models/own");
});

test("a request of version 1: found, told what becomes of it, and stored as a model once", async () => {
  const v = await Visitor.as(n.url, "ada", "/migration");
  const { page } = v;
  await page.getByText("Nothing is left of version 1").waitFor();
  await n.api("POST", "/api/models/load", {
    model_name: "acme/Tiny-GGUF",
    model_uid: "old-one",
    config: null,
    node_id: null,
    gpu_index: null,
  });
  await page.reload();
  const plan = page.getByRole("table", { name: "Requests of version 1", exact: true });
  await plan.getByText("old-one").waitFor();
  await plan.getByText("to migrate", { exact: true }).waitFor();
  await page.getByRole("table", { name: "Calls by client" }).getByText("POST /api/models/load").waitFor();
  await page.getByRole("button", { name: "Migrate" }).click();
  await dialog(page).getByText("Store 1 request as a model?").waitFor();
  await dialog(page).getByRole("button", { name: "Migrate" }).click();
  const report = page.getByRole("table", { name: "Requests of version 1, as migrated" });
  await report.getByText("migrated", { exact: true }).waitFor();
  await plan.getByText("skipped", { exact: true }).waitFor(); // it is a model now, and the request stays as it was
  await page.getByText("0 to migrate").waitFor();
  expect(await page.getByRole("button", { name: "Migrate" }).count()).toBe(0);
  await report.getByRole("link", { name: "old-one" }).click();
  await page.waitForURL(/\/models\/old-one/);
  await page.getByRole("heading", { level: 1, name: "old-one" }).waitFor();
  await v.close();
});
