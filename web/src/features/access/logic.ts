// Decisions of the pages about access.
import type { Schemas } from "../../api/client";
import { atLeast, type Role } from "../../domain/session";
import type { Tab } from "./search";

export type Key = Schemas["KeyView"];
export type User = Schemas["User"];
export type Session = Schemas["SessionView"];

export const roles: Role[] = ["inference", "viewer", "operator", "admin"];

/** The tabs that somebody of this role has. */
export function tabsOf(role: Role | undefined): Tab[] {
  if (atLeast(role, "admin")) return ["users", "keys", "sessions", "secrets"];
  return atLeast(role, "operator") ? ["keys", "sessions", "secrets"] : ["keys", "sessions"];
}

/** The roles that somebody of this role may give a key. */
export function rolesUpTo(role: Role | undefined): Role[] {
  return roles.filter((r) => atLeast(role, r));
}

/** The orders that the server knows, by list; another one in the address is left out. */
const orders: Record<string, string[]> = {
  users: ["name", "role", "created", "updated"],
  keys: ["id", "name", "owner", "role", "state", "created", "expires", "last_used"],
  sessions: ["id", "user", "created", "expires"],
};

export function orderOf(list: "users" | "keys" | "sessions", wanted: string | undefined, otherwise: string): string {
  return wanted && orders[list]!.includes(wanted.replace(/^-/, "")) ? wanted : otherwise;
}

export function listPath(
  list: "users" | "keys" | "sessions",
  sort: string,
  filter?: { name: "owner" | "user"; value: string | undefined },
): string {
  const query = new URLSearchParams({ sort });
  if (filter?.value) query.set(filter.name, filter.value);
  return `/api/v2/${list}?${query}`;
}

export type KeyForm = { name: string; role: Role; owner: string; models: string[]; routes: string[]; days: number | "" };

export function createKeyOf(f: KeyForm, me: string): Schemas["CreateKey"] {
  return {
    name: f.name.trim(),
    role: f.role,
    owner: f.owner.trim() === "" || f.owner.trim() === me ? undefined : f.owner.trim(),
    scopes: { models: f.models, routes: f.routes },
    expires_in_days: f.days === "" ? undefined : f.days,
  };
}

/** What of a key is to be changed; null when nothing is. */
export function updateKeyOf(f: KeyForm, before: Key): Schemas["UpdateKey"] | null {
  const change: Schemas["UpdateKey"] = {};
  if (f.name.trim() !== before.name) change.name = f.name.trim();
  if (f.role !== before.role) change.role = f.role;
  if (!same(f.models, before.scopes.models) || !same(f.routes, before.scopes.routes))
    change.scopes = { models: f.models, routes: f.routes };
  if (f.days !== "") change.expires_in_days = f.days;
  return Object.keys(change).length > 0 ? change : null;
}

function same(a: string[], b: string[] | null | undefined): boolean {
  return a.length === (b ?? []).length && a.every((x, i) => x === b![i]);
}

/** The fields in which two states of a key differ, as people read them. */
export function differences(
  before: Key,
  now: Key,
): { field: "name" | "role" | "models" | "routes" | "state" | "expires"; from: string; to: string }[] {
  const rows = [
    ["name", before.name, now.name],
    ["role", before.role, now.role],
    ["models", before.scopes.models?.join(", ") ?? "", now.scopes.models?.join(", ") ?? ""],
    ["routes", before.scopes.routes?.join(", ") ?? "", now.scopes.routes?.join(", ") ?? ""],
    ["state", before.state, now.state],
    ["expires", iso(before.expires_at_ms), iso(now.expires_at_ms)],
  ] as const;
  return rows.filter(([, a, b]) => a !== b).map(([field, from, to]) => ({ field, from, to }));
}

function iso(ms: number | undefined): string {
  return ms ? new Date(ms).toISOString() : "";
}

export type UserForm = { role: Role; display_name: string; email: string };

/** What of a user is to be changed; null when nothing is. */
export function updateUserOf(f: UserForm, before: User): Schemas["UpdateUser"] | null {
  const change: Schemas["UpdateUser"] = {};
  if (f.role !== before.role) change.role = f.role;
  if (f.display_name !== (before.display_name ?? "")) change.display_name = f.display_name;
  if (f.email !== (before.email ?? "")) change.email = f.email;
  return Object.keys(change).length > 0 ? change : null;
}

/** A browser and its system in short, from what it says of itself; null when it is none that is known. */
export function agentOf(agent: string): { browser: string; system: string } | null {
  const browsers: [RegExp, string][] = [
    [/\bEdg\/(\d+)/, "Edge"],
    [/\bOPR\/(\d+)/, "Opera"],
    [/\bFirefox\/(\d+)/, "Firefox"],
    [/\b(?:Headless)?Chrome\/(\d+)/, "Chrome"],
    [/\bVersion\/(\d+)[^ ]* (?:Mobile\/\S+ )?Safari\//, "Safari"],
  ];
  const systems: [RegExp, string][] = [
    [/\bAndroid\b/, "Android"],
    [/\b(?:iPhone|iPad)\b/, "iOS"],
    [/\bWindows\b/, "Windows"],
    [/\bMac OS X\b/, "macOS"],
    [/\bCrOS\b/, "ChromeOS"],
    [/\bLinux\b/, "Linux"],
  ];
  for (const [pattern, name] of browsers) {
    const version = pattern.exec(agent)?.[1];
    if (version) return { browser: `${name} ${version}`, system: systems.find(([p]) => p.test(agent))?.[1] ?? "" };
  }
  return null;
}
