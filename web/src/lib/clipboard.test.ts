import { afterEach, expect, test, vi } from "vitest";
import { copyText } from "./clipboard";

afterEach(() => vi.unstubAllGlobals());

const page = (clipboard: unknown, execCommand: unknown) => {
  vi.stubGlobal("navigator", { clipboard });
  Object.defineProperty(document, "execCommand", { value: execCommand, configurable: true });
};

test("the clipboard of a page that may use it", async () => {
  const writeText = vi.fn(async () => {});
  page({ writeText }, () => expect.unreachable());
  expect(await copyText("a")).toBe(true);
  expect(writeText).toHaveBeenCalledWith("a");
});

test("over plain HTTP the text is selected and copied, and the focus stays where it was", async () => {
  document.body.innerHTML = "<p><button>press</button></p>";
  const button = document.querySelector("button")!;
  button.focus();
  let selected = "";
  page(undefined, () => {
    selected = (document.activeElement as HTMLTextAreaElement).value;
    return true;
  });
  expect(await copyText("a b")).toBe(true);
  expect(selected).toBe("a b");
  expect(document.activeElement).toBe(button);
  expect(document.querySelector("textarea")).toBeNull();
});

test("where neither is allowed it says so", async () => {
  const refuse = { writeText: () => Promise.reject(new DOMException("no", "NotAllowedError")) };
  page(refuse, () => false);
  expect(await copyText("a")).toBe(false);
  page(refuse, () => {
    throw new Error("not here");
  });
  expect(await copyText("a")).toBe(false);
});
