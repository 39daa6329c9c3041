import { expect, test } from "vitest";
import { auditPath, byDocument, narrowed, shown } from "./logic";
import { search } from "./search";

test("the list is asked for as the address says", () => {
  expect(auditPath({})).toBe("/api/v2/audit");
  expect(auditPath({ actor: "a&b", result: "denied", record: 7 })).toBe("/api/v2/audit?actor=a%26b&result=denied");
  const from = new Date("2026-01-31T12:00").getTime();
  expect(auditPath({ from: "2026-01-31T12:00", to: "2026-01-31T12:00" })).toBe(`/api/v2/audit?from=${from}&to=${from + 59_999}`);
});

test("an open record narrows nothing", () => {
  expect(narrowed({ record: 7 })).toBe(false);
  expect(narrowed({ verb: "login" })).toBe(true);
});

test("changes are told by document", () => {
  const changes = [
    { document: "user ann", field: "role", before: "viewer", after: "admin" },
    { document: "password ann", field: "hash", after: "***" },
    { document: "user ann", field: "disabled", before: true },
  ];
  expect(byDocument(changes).map((g) => [g.document, g.changes.length])).toEqual([
    ["user ann", 2],
    ["password ann", 1],
  ]);
  expect(byDocument(undefined)).toEqual([]);
  expect([shown(undefined), shown(null), shown(false), shown("x"), shown({ a: [1] })]).toEqual(["", "", "false", "x", '{"a":[1]}']);
});

test("the address is read whatever it holds", () => {
  expect(search({ actor: 5, result: "maybe", from: "yesterday", to: "2026-13-01T00:00", record: -1 })).toEqual({
    actor: "5",
    verb: undefined,
    object: undefined,
    result: undefined,
    from: undefined,
    to: undefined,
    record: undefined,
  });
});
