// Who may use the cluster and with what, and what the log tells of it.
import { afterAll, beforeAll, expect, test } from "vitest";
import { closeBrowser, type Page, Visitor } from "./browser";
import { Nebula, password, until } from "./nebula";

let n: Nebula;
beforeAll(async () => {
  n = await Nebula.start();
});
afterAll(async () => {
  await closeBrowser();
  await n?.end();
});

const dialog = (page: Page) => page.getByRole("dialog");
const rowOf = (page: Page, text: string | RegExp) => page.locator("tr[data-row]").filter({ hasText: text });

/** Logs in as people do: with the form. */
async function logIn(page: Page, user: string, secret: string) {
  await page.getByLabel("User name").fill(user);
  await page.getByLabel("Password", { exact: true }).fill(secret);
  await page.getByRole("button", { name: "Log in", exact: true }).click();
}

/** Chooses a deed of a row's menu. */
async function deed(page: Page, name: string, what: string) {
  await page.getByRole("button", { name: `Actions for ${name}` }).click();
  await page.getByRole("menuitem", { name: what }).click();
}

const models = (key: string) => fetch(`${n.url}/v1/models`, { headers: { Authorization: `Bearer ${key}` } }).then((r) => r.status);

test("a user is made, logs in, and is kept out from the moment of being disabled", async () => {
  const ada = await Visitor.as(n.url, "ada", "/access?tab=users");
  await ada.page.getByRole("button", { name: "New user" }).click();
  await dialog(ada.page).getByLabel("User name").fill("nina");
  await dialog(ada.page).getByLabel("Password", { exact: true }).fill("too short");
  await dialog(ada.page).getByRole("button", { name: "Make the user" }).click();
  await dialog(ada.page).getByRole("alert").first().waitFor(); // the server's rule is told, and the dialog stays
  await dialog(ada.page).getByLabel("Password", { exact: true }).fill(password);
  await dialog(ada.page).getByRole("button", { name: "Make the user" }).click();
  await rowOf(ada.page, "nina").waitFor();

  const nina = await Visitor.open(n.url);
  await nina.go("/models");
  await logIn(nina.page, "nina", password);
  await nina.page.getByRole("heading", { level: 1, name: "Models" }).waitFor();

  await deed(ada.page, "nina", "Disable");
  await rowOf(ada.page, "nina").getByText("disabled", { exact: true }).waitFor();
  await nina.page.getByText("Log in to go on where you were.").waitFor(); // at once, without a click
  await logIn(nina.page, "nina", password);
  await nina.page.getByText("You are not logged in").waitFor();

  await deed(ada.page, "nina", "Enable");
  await rowOf(ada.page, "nina").getByText("disabled", { exact: true }).waitFor({ state: "detached" });
  await logIn(nina.page, "nina", password);
  await nina.page.getByRole("heading", { level: 1, name: "Models" }).waitFor();
  await nina.close();

  await deed(ada.page, "nina", "Delete");
  expect(await dialog(ada.page).getByRole("button", { name: "Delete" }).isDisabled()).toBe(true);
  await dialog(ada.page).getByRole("textbox").fill("nina");
  await dialog(ada.page).getByRole("button", { name: "Delete" }).click();
  await rowOf(ada.page, "nina").waitFor({ state: "detached" });
  await ada.close();
});

test("a key is shown once, lets a program in, and is refused once it is revoked", async () => {
  const v = await Visitor.as(n.url, "ada", "/access?tab=keys");
  const { page } = v;
  await page.getByRole("button", { name: "New key" }).click();
  await dialog(page).getByLabel("Name", { exact: true }).fill("nightly");
  await dialog(page).getByRole("button", { name: "Make the key" }).click();
  const secret = await page.getByTestId("secret").innerText();
  await page.keyboard.press("Escape"); // it is not lost by a slip
  await page.getByTestId("secret").waitFor();
  await page.getByRole("button", { name: "Copy", exact: true }).click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(secret);
  await page.getByRole("button", { name: "I have kept it" }).click();
  await rowOf(page, "nightly").waitFor();
  expect(await page.content()).not.toContain(secret);
  expect(await models(secret)).toBe(200);

  await page.reload();
  await rowOf(page, "nightly").waitFor();
  expect(await page.content()).not.toContain(secret);
  await deed(page, "nightly", "Revoke");
  const id = await dialog(page).locator("b.mono").innerText();
  await dialog(page).getByRole("textbox").fill(id);
  await dialog(page).getByRole("button", { name: "Revoke" }).click();
  await rowOf(page, "nightly").waitFor({ state: "detached" });
  await until("the key is refused", async () => (await models(secret)) === 401);
  await v.close();
});

test("a key that two people change: the second sees what the first did, and nothing is lost", async () => {
  const { id } = await n.api<{ id: string }>("POST", "/api/v2/keys", { name: "shared", role: "inference", owner: "ada" });
  const v = await Visitor.as(n.url, "ada", "/access?tab=keys");
  const { page } = v;
  await deed(page, "shared", "Edit");
  await dialog(page).getByLabel("Name", { exact: true }).fill("ours");
  await n.api("PUT", `/api/v2/keys/${id}`, { scopes: { models: ["demo"] } });
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await dialog(page).getByRole("table", { name: "What changed meanwhile" }).getByText("demo").waitFor();
  expect(await dialog(page).getByRole("button", { name: "Save" }).isDisabled()).toBe(true);
  await dialog(page).getByRole("button", { name: "Keep what I have entered, on top of it" }).click();
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await dialog(page).waitFor({ state: "detached" });
  const both = (await n.api<{ id: string; name: string; scopes: object }[]>("GET", "/api/v2/keys")).find((k) => k.id === id);
  expect(both).toMatchObject({ name: "ours", scopes: { models: ["demo"] } });
  await v.close();
});

test("a session is ended from the list, and its browser is told", async () => {
  const there = await Visitor.as(n.url, "otto", "/models");
  await there.settled();
  const ada = await Visitor.as(n.url, "ada", "/access?tab=sessions");
  const { page } = ada;
  await page.getByRole("textbox", { name: "Only of this user" }).fill("otto");
  await page.keyboard.press("Enter");
  await page.waitForURL(/user=otto/);
  await until(
    "only otto's sessions are listed",
    async () => (await page.locator("tr[data-row]").count()) === (await rowOf(page, "otto").count()),
  );
  await rowOf(page, "otto").getByRole("button", { name: "End" }).click();
  await dialog(page).getByText("Whoever uses it has to log in again.").waitFor();
  await dialog(page).getByRole("button", { name: "End" }).click();
  await page.getByText("There are no sessions here").waitFor();
  await there.page.getByText("Log in to go on where you were.").waitFor();
  await logIn(there.page, "otto", password);
  await there.page.getByRole("heading", { level: 1, name: "Models" }).waitFor(); // back where otto was
  await there.close();
  await ada.close();
});

test("a password is changed: the old one is refused, and other sessions end", async () => {
  n.cli(["user", "create", "paul", "--role", "viewer"], `${password}\n`);
  const fresh = "another calm river at dawn 7";
  const v = await Visitor.as(n.url, "paul", "/settings");
  const other = await Visitor.as(n.url, "paul", "/models");
  await other.settled();
  const { page } = v;
  const change = page.getByRole("button", { name: "Change the password" });
  await page.getByLabel("Present password").fill("not the right one at all");
  await page.getByLabel("New password", { exact: true }).fill(fresh);
  await page.getByLabel("The new password again").fill(`${fresh}!`);
  await page.getByText("The two passwords differ").waitFor();
  expect(await change.isDisabled()).toBe(true);
  await page.getByLabel("The new password again").fill(fresh);
  await change.click();
  await page.getByText("The password is not changed").waitFor();
  await page.getByLabel("Present password").fill(password);
  await change.click();
  await page.getByText("your other sessions have ended").first().waitFor();
  await other.page.getByText("Log in to go on where you were.").waitFor();
  await logIn(other.page, "paul", password);
  await other.page.getByText("You are not logged in").waitFor();
  await logIn(other.page, "paul", fresh);
  await other.page.getByRole("heading", { level: 1, name: "Models" }).waitFor();
  await v.go("/models"); // the session that changed it goes on
  await v.settled();
  await other.close();
  await v.close();
});

test("the log tells of it: narrowed by the address, each record opens", async () => {
  const v = await Visitor.as(n.url, "ada", "/audit");
  const { page } = v;
  await page.getByRole("search").getByLabel("Who", { exact: true }).fill("paul");
  await page.keyboard.press("Enter");
  await page.waitForURL(/actor=paul/);
  await until("only paul's records are listed", async () => {
    const rows = await page.locator("tr[data-row]").allInnerTexts();
    return rows.length > 0 && rows.every((r) => r.includes("paul"));
  });
  const shared = page.url();
  await v.go("/models");
  await v.settled();
  await page.goto(shared);
  const change = rowOf(page, /password/)
    .filter({ hasText: "ok" })
    .first();
  await change.getByRole("button", { name: /^Open record/ }).click();
  await page.waitForURL(/record=\d+/);
  await dialog(page)
    .getByText(/^Record \d+/)
    .first()
    .waitFor();
  await dialog(page).getByText("Hash of the record before").waitFor();
  expect(await dialog(page).innerText()).toContain("paul");
  expect(await page.content()).not.toContain("calm river"); // no password is in it
  await page.goBack();
  await dialog(page).waitFor({ state: "detached" });
  await page.getByRole("search").getByLabel("Did", { exact: true }).fill("nothing.such");
  await page.keyboard.press("Enter");
  await page.getByText("No record is like that").waitFor();
  await v.close();
});

test("a viewer has keys and sessions of their own, and nobody else's", async () => {
  await n.api("POST", "/api/v2/keys", { name: "adas-own", role: "inference", owner: "ada" });
  const v = await Visitor.as(n.url, "vera", "/access");
  const { page } = v;
  expect(await page.getByRole("tab").allInnerTexts()).not.toContain("Users");
  await page.getByText("There are no keys here").waitFor();
  expect(await page.getByText("adas-own").count()).toBe(0);
  await page.getByRole("button", { name: "New key" }).click();
  await dialog(page).getByLabel("Name", { exact: true }).fill("veras-own");
  expect(await dialog(page).getByLabel("Owner").count()).toBe(0);
  await dialog(page).getByLabel("Role").click();
  expect(await page.getByRole("option").allInnerTexts()).toEqual(["Inference", "Viewer"]);
  await page.getByRole("option", { name: "Inference" }).click();
  await dialog(page).getByRole("button", { name: "Make the key" }).click();
  expect(await models(await page.getByTestId("secret").innerText())).toBe(200);
  await page.getByRole("button", { name: "I have kept it" }).click();
  await rowOf(page, "veras-own").waitFor();
  expect(await page.locator("tr[data-row]").count()).toBe(1);
  await page.getByRole("tab", { name: "Sessions" }).click();
  await page.getByText("this one").waitFor();
  await v.close();
});

test("a secret is stored, never shown again, replaced and deleted", async () => {
  const v = await Visitor.as(n.url, "ada", "/access?tab=secrets");
  const { page } = v;
  const value = "hf_not-a-real-token";
  await page.getByRole("button", { name: "New secret" }).click();
  await dialog(page).getByLabel("Name", { exact: true }).fill("hub-token");
  await dialog(page).getByLabel("Value", { exact: true }).fill(value);
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await rowOf(page, "hub-token").getByText("no model").waitFor();
  await page.reload();
  await rowOf(page, "hub-token").waitFor();
  expect(await page.content()).not.toContain(value);
  expect(JSON.stringify(await n.api("GET", "/api/v2/secrets"))).not.toContain(value);
  await deed(page, "hub-token", "Replace the value");
  expect(await dialog(page).getByLabel("Value", { exact: true }).inputValue()).toBe("");
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached" });

  n.cli(["model", "create", "acme/Gated-GGUF", "--uid", "gated", "--token-secret", "hub-token"]);
  await rowOf(page, "hub-token").getByRole("link", { name: "gated" }).waitFor();
  await deed(page, "hub-token", "Delete");
  await dialog(page).getByText("1 model names it").waitFor();
  await dialog(page).getByRole("textbox").fill("hub-token");
  await dialog(page).getByRole("button", { name: "Delete" }).click();
  await dialog(page).getByRole("alert").first().waitFor(); // refused: a model needs it
  await dialog(page).getByLabel("Delete it all the same").check();
  await dialog(page).getByRole("button", { name: "Delete" }).click();
  await page.getByText("There are no secrets").waitFor();
  await v.close();
});
