// A second machine: it joins by what the console shows, its replica moves away, and it leaves.
import { afterAll, beforeAll, expect, test } from "vitest";
import { closeBrowser, type Page, Visitor } from "./browser";
import { freePort, Nebula, until } from "./nebula";

type View = { node_id: string; replicas?: { model_uid: string; status: string }[] };

let n: Nebula;
beforeAll(async () => {
  n = await Nebula.start({ flags: ["--fleet-listen", `127.0.0.1:${await freePort()}`, "--node-id", "first"] });
});
afterAll(async () => {
  await closeBrowser();
  await n?.end();
});

const dialog = (page: Page) => page.getByRole("dialog");
const row = (page: Page, id: string) => page.locator(`tr[data-row="${id}"]`);
const replicasOn = async (id: string) => (await n.api<View[]>("GET", "/api/v2/nodes")).find((m) => m.node_id === id)?.replicas ?? [];

test("a token that nobody has used is taken back", async () => {
  const v = await Visitor.as(n.url, "ada", "/nodes");
  const { page } = v;
  await page.getByRole("button", { name: "Add a node" }).click();
  await dialog(page).getByLabel("Node id").fill("never");
  await dialog(page).getByRole("button", { name: "Make a token" }).click();
  const command = await dialog(page).getByTestId("join-command").innerText();
  await dialog(page).getByRole("button", { name: "Done" }).click();
  await page.getByRole("button", { name: "Add a node" }).click();
  expect(await page.content()).not.toContain(/--token (\S+)/.exec(command)![1]); // it was shown once
  const open = dialog(page).getByRole("table", { name: "Tokens that are not used yet" });
  await open.getByText("never").waitFor();
  await open.getByRole("button", { name: /^Take back/ }).click();
  await open.waitFor({ state: "detached" });
  const late = await n.machine(command);
  await until("the machine is refused", () => late.exitCode !== null || late.signalCode !== null);
  expect(late.exitCode).not.toBe(0);
  expect((await n.api<View[]>("GET", "/api/v2/nodes")).map((m) => m.node_id)).toEqual(["first"]);
  await v.close();
});

test("a machine joins by the command that is shown, and is there at once", async () => {
  const v = await Visitor.as(n.url, "ada", "/nodes");
  const { page } = v;
  await row(page, "first").waitFor();
  await page.getByRole("button", { name: "Add a node" }).click();
  await dialog(page).getByLabel("Node id").fill("second");
  await dialog(page).getByRole("button", { name: "Make a token" }).click();
  await dialog(page).getByText("Shown this one time only").waitFor();
  await dialog(page)
    .getByRole("button", { name: /Copy the command/ })
    .click();
  const command = await page.evaluate(() => navigator.clipboard.readText());
  expect(command).toBe(await dialog(page).getByTestId("join-command").innerText());
  await dialog(page).getByRole("button", { name: "Done" }).click();
  await n.machine(command);
  await row(page, "second").getByText("ready", { exact: true }).waitFor();
  await row(page, "second").getByText(/llama/).first().waitFor(); // and the engine that it has
  await page.getByText("2 nodes").waitFor();
  await v.close();
});

test("a node is drained: its replica is ready elsewhere, and the page shows it go", async () => {
  await n.api("POST", "/api/v2/nodes/first/cordon");
  await n.running("moves", "I move.");
  await n.api("POST", "/api/v2/nodes/first/uncordon");
  expect((await replicasOn("second")).map((r) => r.model_uid)).toEqual(["moves"]);
  const v = await Visitor.as(n.url, "otto", "/nodes/second");
  const { page } = v;
  const here = page.getByRole("table", { name: "Replicas on this node" });
  await here.getByRole("link", { name: "moves" }).waitFor();
  await page.getByRole("button", { name: "Drain" }).click();
  await dialog(page)
    .getByText(/its replica moves elsewhere/)
    .waitFor();
  await dialog(page).getByRole("button", { name: "Drain" }).click();
  await page
    .getByRole("main")
    .getByText(/^(draining|drained)$/)
    .first()
    .waitFor();
  await page.getByRole("main").getByText("drained", { exact: true }).first().waitFor();
  await here.waitFor({ state: "detached" });
  const moved = await replicasOn("first");
  expect(moved).toMatchObject([{ model_uid: "moves", status: "ready" }]);
  await page.getByRole("link", { name: "Models", exact: true }).first().click();
  await row(page, "moves").getByText("running", { exact: true }).waitFor();
  await v.close();
});

test("a node is removed by typing its name, and its machine has to be asked in again", async () => {
  const v = await Visitor.as(n.url, "ada", "/nodes/second");
  const { page } = v;
  await page.getByRole("button", { name: "Remove" }).click();
  const sure = dialog(page).getByRole("button", { name: "Remove" });
  expect(await sure.isDisabled()).toBe(true);
  await dialog(page).getByRole("textbox").fill("first");
  expect(await sure.isDisabled()).toBe(true);
  await dialog(page).getByRole("textbox").fill("second");
  await sure.click();
  await page.waitForURL(`${n.url}/nodes`);
  await row(page, "first").waitFor();
  await row(page, "second").waitFor({ state: "detached" });
  await v.go("/nodes/second");
  await page.getByRole("heading", { name: "There is no node second" }).waitFor();
  expect(await n.state("moves")).toBe("running");
  await v.close();
});
