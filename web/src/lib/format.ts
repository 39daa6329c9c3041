// Figures as people read them. Every function takes the language, so that none depends on the page.

// Making a formatter of Intl costs a hundred times more than using it.
const made = new Map<string, unknown>();
function once<T>(key: string, make: () => T): T {
  const known = made.get(key) as T | undefined;
  if (known !== undefined) return known;
  const f = make();
  made.set(key, f);
  return f;
}

const byteUnits = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Bytes in powers of 1024, with three digits that count: 1.25 GiB. */
export function bytes(n: number, language: string): string {
  let unit = 0;
  let value = n;
  while (Math.abs(value) >= 1024 && unit < byteUnits.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${number(value, language, unit === 0 ? 0 : value < 10 ? 2 : value < 100 ? 1 : 0)} ${byteUnits[unit]}`;
}

export function number(n: number, language: string, digits = 0): string {
  // Whole numbers are the same in both languages, and on every page: the browser's formatter would be 40 ms of the first one.
  if (Number.isSafeInteger(n)) return String(n).replace(/\B(?=(?:\d{3})+$)/g, ",");
  return once(
    `n ${language} ${digits}`,
    () => new Intl.NumberFormat(language, { maximumFractionDigits: digits, minimumFractionDigits: 0 }),
  ).format(n);
}

/** A ratio of 0 to 1 as a percentage; one that is not whole is never shown as 100 %. */
export function percent(ratio: number, language: string, digits = 0): string {
  const step = 10 ** -(digits + 2);
  const shown = ratio < 1 ? Math.min(ratio, 1 - step) : ratio;
  return once(`% ${language} ${digits}`, () => new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: digits })).format(
    shown,
  );
}

/** Seconds as the two largest units: 1 h 5 min. */
export function duration(seconds: number, language: string): string {
  const units: [number, string][] = [
    [86400, "day"],
    [3600, "hour"],
    [60, "minute"],
    [1, "second"],
  ];
  const s = Math.max(0, Math.round(seconds));
  const parts: string[] = [];
  let rest = s;
  for (const [size, unit] of units) {
    const n = Math.floor(rest / size);
    if (n > 0 || (size === 1 && parts.length === 0)) {
      parts.push(
        once(`u ${language} ${unit}`, () => new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short" })).format(n),
      );
      rest -= n * size;
    } else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

/** A time as a distance from now: 5 minutes ago. */
export function relative(ms: number, now: number, language: string): string {
  const s = Math.round((ms - now) / 1000);
  const f = once(`r ${language}`, () => new Intl.RelativeTimeFormat(language, { numeric: "auto" }));
  const a = Math.abs(s);
  if (a < 5) return f.format(0, "second");
  if (a < 60) return f.format(s, "second");
  if (a < 3600) return f.format(Math.trunc(s / 60), "minute");
  if (a < 86400) return f.format(Math.trunc(s / 3600), "hour");
  return f.format(Math.trunc(s / 86400), "day");
}

/** A time to the second, with its zone. */
export function exact(ms: number, language: string): string {
  return once(`d ${language}`, () => new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "long" })).format(ms);
}

/** Text that came from outside, as one line that cannot change how what is around it reads: controls and marks of direction are shown as what they are. */
export function inert(text: string, most = 200): string {
  if (text.length <= most && /^[\x20-\x7E]*$/.test(text)) return text;
  const safe = text.replace(
    /[\p{Cc}\u061C\u200B-\u200F\u2028-\u202E\u2060-\u2069\uFEFF]/gu,
    (c) => `\u2423${c.codePointAt(0)!.toString(16).toUpperCase()}\u2423`,
  );
  const letters = [...safe];
  return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : safe;
}
