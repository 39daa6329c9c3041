export const tabs = ["users", "keys", "sessions", "secrets"] as const;
export type Tab = (typeof tabs)[number];
export type Search = { tab?: Tab; sort?: string; user?: string };

/** What the address of this page holds: the tab, the order of its list, and whose keys or sessions are shown. */
export function search(s: Record<string, unknown>): Search {
  return {
    tab: tabs.find((t) => t === s.tab),
    sort: typeof s.sort === "string" && /^-?[a-z_]{1,30}$/.test(s.sort) ? s.sort : undefined,
    user: typeof s.user === "string" || typeof s.user === "number" ? String(s.user).slice(0, 64) || undefined : undefined,
  };
}
