import { afterEach, describe, expect, test, vi } from "vitest";
import { filesOf, scriptOf } from "./ahead";

const routes = {
  "/": ["assets/overview.js"],
  "/models": ["assets/models.js", "assets/models.css"],
  "/models/$uid": ["assets/detail.js"],
};
const languages = { en: ["assets/en.js"], zh: ["assets/zh.js"] };

test.each([
  ["/", ["assets/overview.js"]],
  ["/models", ["assets/models.js", "assets/models.css"]],
  ["/models/a%2Fb", ["assets/detail.js"]],
  ["/models/", []],
  ["/models/a/b", []],
  ["/modelsx", []],
  ["/constructor", []],
])("the files of %s", (address, files) => {
  expect(filesOf(address, routes)).toEqual(files);
});

describe("the script in the page", () => {
  afterEach(() => {
    document.head.replaceChildren();
    history.replaceState(null, "", "/");
    localStorage.clear();
  });

  const run = (address: string) => {
    history.replaceState(null, "", address);
    new Function(scriptOf({ routes, languages }))(); // as the browser runs it: with nothing of this file
    return [...document.head.querySelectorAll("link")].map((l) => [l.rel, l.getAttribute("href"), l.as || null, l.crossOrigin]);
  };

  test("asks for the files of the address and for its texts", () => {
    vi.spyOn(navigator, "languages", "get").mockReturnValue(["de-DE", "zh-CN", "en"]);
    expect(run("/models?q=x#y")).toEqual([
      ["modulepreload", "/assets/models.js", null, ""],
      ["preload", "/assets/models.css", "style", ""],
      ["modulepreload", "/assets/zh.js", null, ""],
    ]);
  });

  test("asks for the language that was chosen here, on an address without a page, too", () => {
    localStorage.setItem("nebula-language", "en");
    vi.spyOn(navigator, "languages", "get").mockReturnValue(["zh-CN"]);
    expect(run("/nowhere")).toEqual([["modulepreload", "/assets/en.js", null, ""]]);
  });
});
