// Names that want to be something else.
import { afterAll, beforeAll, expect, test } from "vitest";
import { closeBrowser, Visitor } from "./browser";
import { Nebula } from "./nebula";
import { pages } from "./pages";

const names = {
  markup: `<img src=x onerror="document.title='owned'">`,
  script: `<script>document.title='owned'</script>{{constructor.constructor("alert(1)")()}}`,
  turned: `\u202Egpj.exe\u202C\u2066 is safe \u2069`,
  long: "x".repeat(10_000),
};
let n: Nebula;
const stored: string[] = [];
beforeAll(async () => {
  n = await Nebula.start();
  const file = n.demoModel("plain", "Plain.");
  for (const [uid, name] of Object.entries(names)) {
    // What the API takes is shown; what it refuses cannot harm. A local model's name may be anything that is one line.
    try {
      await n.api("POST", "/api/v2/models", {
        model_uid: uid,
        model_name: name,
        model_source: "local",
        model_path: file,
        engine_type: "llamacpp",
        labels: { note: "<b>bold</b>".replace(/[<>/]/g, "_") },
      });
      stored.push(uid);
    } catch (e) {
      expect(String(e), uid).toMatch(/ 400 /);
    }
  }
});
afterAll(async () => {
  await closeBrowser();
  await n?.end();
});

test("hostile names harm nothing, on any page", async () => {
  expect(stored.length).toBeGreaterThan(0);
  for (const zh of [false, true]) {
    const v = await Visitor.as(n.url, "ada", "/", { zh });
    for (const path of [...pages.map((p) => p.path), ...stored.map((uid) => `/models/${uid}`)]) {
      if (zh) await v.turnTo(path);
      else await v.go(path); // in one of them each page is loaded on its own
      await v.settled();
      expect.soft(await v.page.title(), path).not.toContain("owned");
      expect.soft(await v.page.evaluate(() => document.querySelectorAll("main img, main script").length), path).toBe(0);
      expect.soft(await v.tooWide(), path).toBe(0);
    }
    await v.close();
  }
});

test("a hostile address is an address that nobody has", async () => {
  const v = await Visitor.as(n.url, "ada", "/");
  for (const path of [
    "/models/%3Cimg%20src%3Dx%3E",
    "/models/..%2F..%2Fetc",
    `/models?q=${encodeURIComponent("<script>alert(1)</script>")}`,
    "/models?state=nonsense&sort=;drop&label=%00",
    "/login?next=https://evil.example/&error=call%200900",
  ]) {
    await v.go(path);
    await v.settled();
    expect.soft(await v.page.evaluate(() => document.querySelectorAll("main script").length), path).toBe(0);
    expect.soft(new URL(v.page.url()).origin, path).toBe(n.url);
    expect.soft(await v.page.locator("body").innerText(), path).not.toContain("0900");
  }
  await v.close();
});
