/** A form of what something is now, with what was entered since it was `was`: each field that was left alone follows what it is now. */
export function rebase<T extends object>(was: T, mine: T, is: T): T {
  const out = { ...is };
  for (const k of Object.keys(mine) as (keyof T)[]) if (JSON.stringify(mine[k]) !== JSON.stringify(was[k])) out[k] = mine[k];
  return out;
}
