import { expect, test } from "vitest";
import { keptReturn, search } from "./search";

test.each([
  ["/models?state=failed", "/models?state=failed"],
  ["//evil.example", undefined],
  ["/\\evil.example", undefined],
  ["/\t/evil.example", undefined],
  ["https://evil.example", undefined],
  ["javascript:alert(1)", undefined],
  ["models", undefined],
  [["/x"], undefined],
])("next %j -> %s", (given, want) => expect(search({ next: given }).next).toBe(want));

test("an error is one of those that are known, and never a text", () => {
  expect(search({ error: "forbidden" }).error).toBe("forbidden");
  expect(search({ error: "call 0900 now" }).error).toBe("other");
  expect(search({}).error).toBeUndefined();
  expect(search({ request: "req_1" }).request).toBe("req_1");
  expect(search({ request: "call 0900 now" }).request).toBeUndefined();
});

test.each([
  [undefined, "/"],
  ["/models?q=x", "/models?q=x"],
  [`/models?q=${"x".repeat(502)}`, `/models?q=${"x".repeat(502)}`],
  [`/models?q=${"x".repeat(503)}`, "/"],
  [`/models?q=${"模".repeat(200)}`, "/"],
])("a provider leads back from %s", (next, kept) => {
  expect(keptReturn(next)).toBe(kept);
});
