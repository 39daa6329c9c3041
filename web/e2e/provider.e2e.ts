// Logging in at an OpenID provider: a real one, with a login page of its own.
import { afterAll, beforeAll, expect, test } from "vitest";
import { closeBrowser, Visitor } from "./browser";
import { Nebula, password } from "./nebula";

let n: Nebula;
beforeAll(async () => {
  n = await Nebula.start({ provider: true });
});
afterAll(async () => {
  await closeBrowser();
  await n?.end();
});

/** Goes to the provider by the login page's button, and proves there who one is. */
async function logInThere(v: Visitor, name: string) {
  const button = v.page.getByRole("link", { name: /^Log in at 127\.0\.0\.1:\d+$/ });
  await button.click();
  await v.page.waitForURL((u) => u.origin !== n.url);
  await v.page.getByLabel("Username").fill(name);
  await v.page.getByLabel("Password").fill("right");
  await v.page.getByRole("button", { name: "Login" }).click();
  await v.page.waitForURL((u) => u.origin === n.url);
}

test("by the provider: back where one wanted to go, with the role that it gives, and out again", async () => {
  n.cli(["model", "create", "acme/Tiny-GGUF", "--uid", "tiny"]);
  const v = await Visitor.open(n.url);
  const { page } = v;
  await v.go("/models/tiny?tab=events");
  await page.waitForURL(/\/login\?next=/);
  await logInThere(v, "ann");
  await page.waitForURL(/\/models\/tiny\?tab=events$/);
  await page.getByRole("heading", { level: 1, name: "tiny" }).waitFor();
  await page.getByRole("button", { name: "Start", exact: true }).waitFor(); // an operator
  const me = await (await v.context.request.get(`${n.url}/api/v2/whoami`)).json();
  expect(me).toMatchObject({ id: "ann", role: "operator" });
  await v.go("/settings");
  await v.settled();
  expect(await page.getByRole("button", { name: "Change the password" }).count()).toBe(0); // there is none here
  await page.getByRole("button", { name: "Account" }).click();
  await page.getByRole("menuitem", { name: "Log out" }).click();
  await page.waitForURL(/\/login/);
  expect((await v.context.request.get(`${n.url}/api/v2/whoami`)).status()).toBe(401);
  await v.close();
});

test.each([
  ["eve", "whom no role is given", /does not let you in\. Ask an administrator for a role/],
  ["ada", "whose name is another's here", /Your name belongs to another account here/],
])("%s, %s, is told so and stays outside", async (name, _why, says) => {
  const v = await Visitor.open(n.url);
  const { page } = v;
  await v.go("/models?q=tiny");
  await page.waitForURL(/\/login\?next=/);
  await logInThere(v, name);
  const note = page.getByRole("alert");
  await note.getByText(says).waitFor();
  const request = new URL(page.url()).searchParams.get("request");
  expect(request).toMatch(/^req_[0-9a-f]+$/);
  await note.getByText(request!).waitFor();
  expect(await v.axe()).toEqual([]);
  expect((await v.context.request.get(`${n.url}/api/v2/whoami`)).status()).toBe(401);
  // The password works as before, for whoever has one, and leads to where one wanted to go.
  await page.getByLabel("User name").fill("otto");
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Log in", exact: true }).click();
  await page.waitForURL(/\/models\?q=tiny$/);
  await v.close();
});
