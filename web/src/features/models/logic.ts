import type { ModelsSearch } from "./search";

/** The query of a list of models, or of what counts them. */
export function queryOf(s: ModelsSearch, leaveOut: (keyof ModelsSearch)[] = []): string {
  const q = new URLSearchParams();
  for (const key of ["q", "state", "engine", "sort"] as const) {
    const value = s[key]?.trim();
    if (value && !leaveOut.includes(key)) q.set(key, value);
  }
  if (!leaveOut.includes("label")) for (const l of s.label ?? []) q.append("label", l);
  const text = q.toString();
  return text ? `?${text}` : "";
}

/** Whether anything narrows the list. */
export function narrowed(s: ModelsSearch): boolean {
  return Boolean(s.q?.trim() || s.state || s.engine || s.label?.length);
}

export type Outcome = { id: string; error: unknown | null };

/** Does something with each of many, a few at a time, and tells what became of each; a failure ends none of the others. */
export async function each(
  ids: string[],
  atOnce: number,
  work: (id: string) => Promise<unknown>,
  told: (o: Outcome) => void = () => {},
): Promise<Outcome[]> {
  const out: Outcome[] = new Array(ids.length);
  let next = 0;
  async function one() {
    while (next < ids.length) {
      const i = next++;
      const id = ids[i]!;
      out[i] = await work(id).then(
        () => ({ id, error: null }),
        (error: unknown) => ({ id, error: error ?? new Error("unknown") }),
      );
      told(out[i]);
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, ids.length) }, one));
  return out;
}
