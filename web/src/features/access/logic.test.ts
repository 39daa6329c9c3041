import { expect, test } from "vitest";
import {
  agentOf,
  createKeyOf,
  differences,
  type Key,
  type KeyForm,
  listPath,
  orderOf,
  rolesUpTo,
  tabsOf,
  type User,
  updateKeyOf,
  updateUserOf,
} from "./logic";
import { search } from "./search";

const form: KeyForm = { name: " ci ", role: "inference", owner: "", models: [], routes: [], days: "" };
const key: Key = {
  id: "k1",
  kind: "key",
  name: "ci",
  owner: "ann",
  role: "inference",
  scopes: { models: ["a"], routes: [] },
  prefix: "nb_k1",
  state: "active",
  created_at_ms: 1,
  updated_at_ms: 1,
};

test("nobody gets a tab or a role that is more than their own", () => {
  expect(tabsOf("viewer")).toEqual(["keys", "sessions"]);
  expect(tabsOf("operator")).not.toContain("users");
  expect(tabsOf("admin")[0]).toBe("users");
  expect(rolesUpTo("viewer")).toEqual(["inference", "viewer"]);
  expect(rolesUpTo(undefined)).toEqual([]);
});

test("an order that the server does not know is left out", () => {
  expect(orderOf("users", "-created", "name")).toBe("-created");
  expect(orderOf("users", "-expires", "name")).toBe("name");
  expect(orderOf("keys", undefined, "-created")).toBe("-created");
  expect(listPath("keys", "-name", { name: "owner", value: "a&b=c" })).toBe("/api/v2/keys?sort=-name&owner=a%26b%3Dc");
  expect(listPath("keys", "name", { name: "owner", value: undefined })).toBe("/api/v2/keys?sort=name");
});

test("a new key names its owner only when that is somebody else", () => {
  expect(createKeyOf(form, "ann")).toEqual({
    name: "ci",
    role: "inference",
    owner: undefined,
    scopes: { models: [], routes: [] },
    expires_in_days: undefined,
  });
  expect(createKeyOf({ ...form, owner: " ann ", days: 7 }, "ann")).toMatchObject({ owner: undefined, expires_in_days: 7 });
  expect(createKeyOf({ ...form, owner: "bob" }, "ann").owner).toBe("bob");
});

test("only what has changed is sent", () => {
  const same = { ...form, name: "ci", models: ["a"] };
  expect(updateKeyOf(same, key)).toBeNull();
  expect(updateKeyOf({ ...same, models: ["a", "b"] }, key)).toEqual({ scopes: { models: ["a", "b"], routes: [] } });
  expect(updateKeyOf({ ...same, days: 30, name: "x" }, key)).toEqual({ name: "x", expires_in_days: 30 });
  const user: User = { name: "ann", role: "viewer", created_at_ms: 1, updated_at_ms: 1 };
  expect(updateUserOf({ role: "viewer", display_name: "", email: "" }, user)).toBeNull();
  expect(updateUserOf({ role: "admin", display_name: "Ann", email: "" }, user)).toEqual({ role: "admin", display_name: "Ann" });
});

test("what somebody else changed can be told", () => {
  expect(differences(key, { ...key, name: "build", state: "disabled", updated_at_ms: 2 })).toEqual([
    { field: "name", from: "ci", to: "build" },
    { field: "state", from: "active", to: "disabled" },
  ]);
  expect(differences(key, key)).toEqual([]);
});

test("a browser is named in short, and what is none is left as it is", () => {
  const chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
  expect(agentOf(chrome)).toEqual({ browser: "Chrome 140", system: "Linux" });
  expect(agentOf(`${chrome} Edg/140.0.0.0`)).toMatchObject({ browser: "Edge 140" });
  expect(agentOf("Mozilla/5.0 (Windows NT 10.0; rv:130.0) Gecko/20100101 Firefox/130.0")).toEqual({
    browser: "Firefox 130",
    system: "Windows",
  });
  expect(
    agentOf(
      "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
    ),
  ).toEqual({
    browser: "Safari 18",
    system: "iOS",
  });
  expect(agentOf("curl/8.5.0")).toBeNull();
  expect(agentOf("<script>")).toBeNull();
});

test("the address is read whatever it holds", () => {
  expect(search({ tab: "nonsense", sort: "name;drop", user: "" })).toEqual({ tab: undefined, sort: undefined, user: undefined });
  expect(search({ tab: "keys", sort: "-last_used", user: 42 })).toEqual({ tab: "keys", sort: "-last_used", user: "42" });
});
