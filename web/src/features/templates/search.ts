export const categories = ["llm", "vlm", "embedding", "rerank", "audio"] as const;
export const sources = ["system", "user", "saved"] as const;
export type Category = (typeof categories)[number];
export type Source = (typeof sources)[number];
/** `deploy` and `edit` name the template whose dialog is open; `make` opens an empty form. */
export type Search = { q?: string; category?: Category; source?: Source; deploy?: string; edit?: string; make?: boolean };

/** What the address of this page holds beside its path. */
export function search(s: Record<string, unknown>): Search {
  const out: Search = {};
  const text = (v: unknown) => ((typeof v === "string" || typeof v === "number") && v !== "" ? String(v).slice(0, 200) : undefined);
  const q = text(s.q);
  if (q) out.q = q;
  if (categories.includes(s.category as Category)) out.category = s.category as Category;
  if (sources.includes(s.source as Source)) out.source = s.source as Source;
  const deploy = text(s.deploy);
  const edit = text(s.edit);
  if (deploy) out.deploy = deploy;
  else if (edit) out.edit = edit;
  else if (s.make === true) out.make = true;
  return out;
}
