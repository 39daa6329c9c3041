export type Search = { model?: string; with?: string; tab?: "embeddings" };

/** What the address of this page holds: the model, the one that it is compared with, and the tab. */
export function search(s: Record<string, unknown>): Search {
  return {
    model: name(s.model),
    with: name(s.with),
    tab: s.tab === "embeddings" ? "embeddings" : undefined,
  };
}

/** A name as it may stand in an address; a number there is read as one, and is a name all the same. */
function name(v: unknown): string | undefined {
  if (typeof v === "number") return String(v);
  return typeof v === "string" && v !== "" ? v.slice(0, 200) : undefined;
}
