// Languages, colours, and a keyboard alone.
import { afterAll, beforeAll, expect, test } from "vitest";
import { closeBrowser, Visitor } from "./browser";
import { Nebula, password, until } from "./nebula";
import { pages } from "./pages";

let n: Nebula;
beforeAll(async () => {
  n = await Nebula.start();
  await n.running("demo");
});
afterAll(async () => {
  await closeBrowser();
  await n?.end();
});

test("the language is the browser's until one is chosen, and stays chosen", async () => {
  const v = await Visitor.as(n.url, "ada", "/models", { zh: true });
  await v.page.getByRole("heading", { level: 1, name: "模型" }).waitFor();
  await v.page.getByRole("button", { name: "语言" }).click();
  await v.page.getByRole("menuitem", { name: "English" }).click();
  await v.page.getByRole("heading", { level: 1, name: "Models" }).waitFor();
  await v.page.reload();
  await v.page.getByRole("heading", { level: 1, name: "Models" }).waitFor();
  expect(await v.page.evaluate(() => document.documentElement.lang)).toBe("en");
  await v.close();
});

test("colours follow the system until some are chosen, and stay chosen", async () => {
  const v = await Visitor.as(n.url, "ada", "/", { dark: true });
  const scheme = () => v.page.evaluate(() => document.documentElement.getAttribute("data-mantine-color-scheme"));
  await v.settled();
  expect(await scheme()).toBe("dark");
  await v.page.getByRole("button", { name: "Colours" }).click();
  await v.page.getByRole("menuitem", { name: "Light" }).click();
  await until("it is light", async () => (await scheme()) === "light");
  await v.page.reload();
  await v.settled();
  expect(await scheme()).toBe("light");
  await v.close();
});

test("with the keyboard alone: log in, find a model, stop it", async () => {
  const v = await Visitor.open(n.url);
  const { page } = v;
  await v.go("/");
  await page.waitForURL(/\/login/);
  await page.locator("input[autocomplete=username]").waitFor();
  await until("the name has the focus", () => page.evaluate(() => document.activeElement?.getAttribute("autocomplete") === "username"));
  await page.keyboard.type("otto");
  await page.keyboard.press("Tab");
  await page.keyboard.type(password);
  await page.keyboard.press("Enter");
  await page.getByRole("navigation", { name: "Main navigation" }).waitFor();
  await page.keyboard.press("Control+K");
  await page.getByPlaceholder("A page, or a model's uid or name").waitFor();
  await page.keyboard.type("demo");
  await page.getByRole("button", { name: /demo/ }).first().waitFor();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/models\/demo/);
  await page.getByRole("button", { name: "Stop" }).waitFor();
  for (let i = 0; i < 40; i++) {
    await page.keyboard.press("Tab");
    const text = await page.evaluate(() => (document.activeElement as HTMLElement | null)?.innerText?.trim());
    if (text === "Stop") break;
  }
  expect(await page.evaluate(() => (document.activeElement as HTMLElement).innerText.trim())).toBe("Stop");
  // Whatever has the focus can be seen to have it.
  expect(await page.evaluate(() => getComputedStyle(document.activeElement!).outlineStyle)).not.toBe("none");
  await page.keyboard.press("Enter");
  await until("demo is stopped", async () => (await n.state("demo")) === "stopped");
  await v.close();
});

test("the first Tab leads past the navigation", async () => {
  const v = await Visitor.as(n.url, "ada", "/models");
  await v.settled();
  await v.page.keyboard.press("Tab");
  expect(await v.page.evaluate(() => document.activeElement?.textContent)).toBe("Skip to the content");
  await v.page.keyboard.press("Enter");
  expect(await v.page.evaluate(() => document.activeElement?.id)).toBe("main");
  await v.close();
});

test("what a page is made of is asked for before the first file has been read", async () => {
  const v = await Visitor.as(n.url, "ada", "/api/docs", { zh: true });
  for (const { path } of [...pages, { path: "/models/demo" }, { path: "/nodes/nobody" }]) {
    await v.go(path);
    await v.page.getByRole("heading", { level: 1 }).first().waitFor();
    const asked = await v.page.evaluate(() => {
      const all = performance.getEntriesByType("resource").toSorted((a, b) => a.startTime - b.startTime);
      return all.map((e) => e.name.replace(/.*\/|-.{8}\.js$/g, ""));
    });
    const ran = asked.indexOf("whoami"); // the first file asks this first
    const texts = asked.indexOf("zh");
    const own = asked.flatMap((name, i) => (name === "page" || name === "node" ? [i] : []));
    expect.soft(own, `the page's own file of ${path}: ${asked}`).toHaveLength(1);
    for (const at of [texts, ...own]) {
      expect.soft(at, `${path}: ${asked}`).toBeGreaterThanOrEqual(0);
      expect.soft(at, `${path}: ${asked}`).toBeLessThan(ran);
    }
  }
  await v.close();
});
