// Figures against their targets, one line each, as all benchmarks of Nebula print them.

export const short = process.env.NEBULA_BENCH === "short";

export function figure(name: string, value: number, unit: string, op: "<" | "<=" | ">=" | "=", target: number) {
  const met = op === "<" ? value < target : op === "<=" ? value <= target : op === ">=" ? value >= target : value === target;
  process.stdout.write(
    `bench: ${name} = ${Number(value.toFixed(value < 10 ? 2 : 1))} ${unit} (target ${op} ${target}) ${met ? "ok" : "short"}\n`,
  );
}

export function median(values: number[]): number {
  const s = [...values].sort((a, b) => a - b);
  return s[Math.floor(s.length / 2)]!;
}

export function quantile(values: number[], q: number): number {
  const s = [...values].sort((a, b) => a - b);
  return s[Math.min(s.length - 1, Math.floor(q * s.length))]!;
}
