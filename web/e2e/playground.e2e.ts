// Talking to models.
import { afterAll, beforeAll, expect, test } from "vitest";
import { closeBrowser, type Page, Visitor } from "./browser";
import { Nebula } from "./nebula";

const long = Array.from({ length: 400 }, (_, i) => `word${i}`).join(" ");
let n: Nebula;
beforeAll(async () => {
  n = await Nebula.start();
  await n.running("short", "A short answer.");
  await n.running("long", long);
});
afterAll(async () => {
  await closeBrowser();
  await n?.end();
});

async function say(page: Page, text: string) {
  await page.locator(".talk-write textarea").first().fill(text);
  await page.keyboard.press("Enter");
}

test("an answer comes as it is made, with its figures; it can be stopped", async () => {
  const v = await Visitor.as(n.url, "vera", "/playground?model=long");
  // The engine is quick: over a slow line there is time to stop it.
  const line = await v.context.newCDPSession(v.page);
  await line.send("Network.enable");
  await line.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: 4000, uploadThroughput: -1 });
  await say(v.page, "Tell me everything");
  await v.page.getByText("word3 ").first().waitFor();
  await v.page.getByRole("button", { name: "Stop" }).click();
  await v.page.getByRole("button", { name: "Send" }).waitFor();
  expect(await v.page.locator(".talk-scroll").innerText()).not.toContain("word399");
  await line.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  await v.go("/playground?model=short");
  await say(v.page, "Hello");
  await v.page.getByText("A short answer.").first().waitFor();
  await v.page.getByText("TTFT").first().waitFor();
  await v.close();
});

test("two models answer one prompt side by side", async () => {
  const v = await Visitor.as(n.url, "vera", "/playground?model=short&with=long");
  await say(v.page, "Both of you");
  await v.page.getByText("A short answer.").first().waitFor();
  await v.page.getByText("word7 ").first().waitFor();
  expect(await v.page.locator(".talk-lane").count()).toBe(2);
  await v.close();
});

test("a model that is stopped in the middle of a conversation", async () => {
  const v = await Visitor.as(n.url, "ada", "/playground?model=short");
  await say(v.page, "Hello");
  await v.page.getByText("A short answer.").first().waitFor();
  await n.api("POST", "/api/v2/models/short/stop");
  await v.page.getByText("short does not answer now").waitFor();
  await say(v.page, "Still there?");
  await v.page.getByText("No answer").first().waitFor();
  await n.api("POST", "/api/v2/models/short/start");
  await v.page.getByText("short does not answer now").waitFor({ state: "detached" });
  await v.close();
});

test("vectors of a model that makes none: the engine's words", async () => {
  const v = await Visitor.as(n.url, "ada", "/playground?model=long&tab=embeddings");
  await v.page.getByLabel("First text").fill("a text");
  await v.page.getByRole("button", { name: "Make vectors" }).click();
  await v.page
    .getByText(/No vectors|Numbers in a vector/)
    .first()
    .waitFor();
  await v.close();
});

test("code that does the same, without a key in it", async () => {
  const v = await Visitor.as(n.url, "ada", "/playground?model=long");
  await v.page.getByRole("button", { name: "Code" }).click();
  const code = await v.page.getByRole("dialog").innerText();
  expect(code).toContain(`${n.url}/v1`);
  expect(code).toContain("NEBULA_KEY");
  await v.close();
});
