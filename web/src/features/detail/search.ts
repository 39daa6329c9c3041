export const tabs = ["overview", "replicas", "figures", "logs", "events"] as const;
export type Tab = (typeof tabs)[number];
export type DetailSearch = { tab?: Tab; replica?: number; previous?: boolean };

/** What the address of this page holds beside its path; what it does not know is left out. */
export function search(s: Record<string, unknown>): DetailSearch {
  const out: DetailSearch = {};
  if (tabs.includes(s.tab as Tab)) out.tab = s.tab as Tab;
  const replica = Number(s.replica);
  if (s.replica !== undefined && s.replica !== "" && Number.isInteger(replica) && replica >= 0 && replica < 2 ** 32) out.replica = replica;
  if (s.previous === true) out.previous = true;
  return out;
}
