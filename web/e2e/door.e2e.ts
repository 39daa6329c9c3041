// The first user, logging in and out.
import { afterAll, beforeAll, expect, test } from "vitest";
import { closeBrowser, Visitor } from "./browser";
import { Nebula, password } from "./nebula";

let fresh: Nebula;
beforeAll(async () => {
  fresh = await Nebula.start({ users: false });
});
afterAll(async () => {
  await closeBrowser();
  await fresh?.end();
});

test("the first-run link makes the first administrator, once", async () => {
  const v = await Visitor.open(fresh.url);
  await v.page.goto(fresh.setupLink);
  await v.page.getByLabel("User name").fill("ada");
  await v.page.getByLabel("Password", { exact: true }).fill("short");
  await v.page.getByRole("button", { name: "Make the administrator" }).click();
  await v.page.getByText("At least 15 characters", { exact: true }).waitFor();
  await v.page.getByLabel("Password", { exact: true }).fill(password);
  await v.page.getByLabel("The same password again").fill("another one entirely");
  await v.page.getByRole("button", { name: "Make the administrator" }).click();
  await v.page.getByText("The two passwords differ").waitFor();
  await v.page.getByLabel("The same password again").fill(password);
  await v.page.getByRole("button", { name: "Make the administrator" }).click();
  await v.page.getByRole("navigation", { name: "Main navigation" }).waitFor();
  expect(new URL(v.page.url()).pathname).toBe("/");
  await v.page.goto(fresh.setupLink);
  await v.page.reload();
  await v.page.getByText("This cluster is set up already").waitFor();
  await v.close();
});

test("a wrong password is refused in words, the right one leads back to where one wanted to go", async () => {
  const v = await Visitor.open(fresh.url);
  await v.go("/models?state=failed");
  await v.page.waitForURL(/\/login\?next=/);
  await v.page.getByLabel("User name").fill("ada");
  await v.page.getByLabel("Password").first().fill("not the password");
  await v.page.keyboard.press("Enter");
  await v.page.getByRole("alert").getByText("User name or password is wrong").waitFor();
  await v.page.getByLabel("Password").first().fill(password);
  await v.page.keyboard.press("Enter");
  await v.page.waitForURL(/\/models/);
  await v.close();
});

test("logging out ends the session; the back button shows nothing of it", async () => {
  const v = await Visitor.as(fresh.url, "ada", "/settings");
  await v.page.getByRole("button", { name: "Account" }).click();
  await v.page.getByRole("menuitem", { name: "Log out" }).click();
  await v.page.waitForURL(/\/login/);
  await v.page.goBack();
  await v.page.waitForURL(/\/login/);
  expect((await v.context.request.get(`${fresh.url}/api/v2/whoami`)).status()).toBe(401);
  await v.close();
});

test("a session that is ended elsewhere leads to the login page at once, and back", async () => {
  const v = await Visitor.as(fresh.url, "ada", "/nodes");
  await v.page.getByRole("heading", { level: 1 }).waitFor();
  for (const s of await fresh.api<{ id: string; user: string }[]>("GET", "/api/v2/sessions"))
    await fresh.api("DELETE", `/api/v2/sessions/${s.id}`);
  await v.page.waitForURL(/\/login\?next=%2Fnodes/); // without a click: its streams have ended
  await v.page.getByLabel("User name").fill("ada");
  await v.page.getByLabel("Password").first().fill(password);
  await v.page.keyboard.press("Enter");
  await v.page.waitForURL(`${fresh.url}/nodes`);
  await v.close();
});

test("an address that nobody has says so", async () => {
  const v = await Visitor.as(fresh.url, "ada", "/no/such/page");
  await v.page.getByRole("heading", { name: "There is nothing here" }).waitFor();
  await v.page.getByRole("link", { name: "To the overview" }).click();
  await v.page.waitForURL(`${fresh.url}/`);
  await v.close();
});
