export const ways = ["template", "hub", "manual"] as const;
export type Way = (typeof ways)[number];
export type CreateSearch = { template?: string; from?: Way; name?: string };

/** What the address of this page holds beside its path; what it does not know is left out. */
export function search(s: Record<string, unknown>): CreateSearch {
  const out: CreateSearch = {};
  if (typeof s.template === "string" && s.template) out.template = s.template.slice(0, 100);
  if (ways.includes(s.from as Way)) out.from = s.from as Way;
  if (typeof s.name === "string" && s.name) out.name = s.name.slice(0, 300);
  return out;
}
