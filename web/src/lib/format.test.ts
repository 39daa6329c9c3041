import { expect, test } from "vitest";
import { bytes, duration, inert, number, percent, relative } from "./format";

test.each([
  [0, "0 B"],
  [1023, "1,023 B"],
  [1024, "1 KiB"],
  [1536, "1.5 KiB"],
  [1.25 * 2 ** 30, "1.25 GiB"],
  [123.4 * 2 ** 30, "123 GiB"],
])("bytes(%d)", (n, want) => expect(bytes(n, "en")).toBe(want));

test.each(["en", "zh"])("whole numbers in %s are those of the browser's own formatter", (language) => {
  const own = new Intl.NumberFormat(language);
  for (const n of [0, 7, 999, 1000, 12_345, 999_999, 1_000_000, 1_234_567_890, Number.MAX_SAFE_INTEGER, -1, -999, -1000, -12_345_678])
    expect(number(n, language)).toBe(own.format(n));
});

test.each([
  [0.9999, "99%"],
  [1, "100%"],
  [0, "0%"],
  [0.425, "43%"],
])("percent(%d): what is not whole is never shown as whole", (n, want) => expect(percent(n, "en")).toBe(want));

test.each([
  [0, "0 sec"],
  [61, "1 min 1 sec"],
  [3600, "1 hr"],
  [3660, "1 hr 1 min"],
  [90061, "1 day 1 hr"],
])("duration(%d)", (n, want) => expect(duration(n, "en")).toBe(want));

test("relative", () => {
  expect(relative(0, 2000, "en")).toBe("now");
  expect(relative(0, 59_000, "en")).toBe("59 seconds ago");
  expect(relative(0, 3 * 3600_000, "en")).toBe("3 hours ago");
  expect(relative(0, 3 * 3600_000, "zh")).toBe("3小时前");
});

test("inert shows what cannot be seen, and ends", () => {
  expect(inert("a\u202Eb\nc")).toBe("a␣202E␣b␣A␣c");
  expect([...inert("x".repeat(10_000), 80)]).toHaveLength(80);
  expect(inert("<img src=x onerror=alert(1)>")).toBe("<img src=x onerror=alert(1)>");
  expect(inert("模型 🚀")).toBe("模型 🚀");
});
