/** The cosine of the angle between two vectors: 1 is the same direction. Undefined where it has none: other lengths, or a vector of zeros. */
export function cosine(a: number[], b: number[]): number | undefined {
  if (a.length !== b.length || a.length === 0) return undefined;
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    aa += a[i]! ** 2;
    bb += b[i]! ** 2;
  }
  const size = Math.sqrt(aa) * Math.sqrt(bb);
  return size > 0 && Number.isFinite(size) ? Math.max(-1, Math.min(1, dot / size)) : undefined;
}
