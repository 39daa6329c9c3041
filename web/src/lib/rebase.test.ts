import { expect, test } from "vitest";
import { rebase } from "./rebase";

test("what was entered stays, and what was left alone follows", () => {
  const was = { name: "a", models: ["m"], days: "" };
  expect(rebase(was, { ...was, models: ["m", "n"] }, { name: "b", models: [], days: "" })).toEqual({
    name: "b",
    models: ["m", "n"],
    days: "",
  });
  expect(rebase(was, was, { ...was, name: "b" })).toEqual({ ...was, name: "b" });
});
