import type { Files } from "../../domain/files";

/** The files whose model's name has the words, in the order of a field; -field is the other way round. The server's summary comes whole. */
export function sorted(files: Files[], sort: string, q: string): Files[] {
  const words = q.trim().toLowerCase();
  const down = sort.startsWith("-") ? -1 : 1;
  const field = sort.replace(/^-/, "");
  const value = (f: Files) => (field === "size" ? f.bytes : field === "nodes" ? f.entries.length : field === "accessed" ? f.accessed : 0);
  return files
    .filter((f) => !words || f.name.toLowerCase().includes(words) || f.users.some((u) => u.includes(words)))
    .sort((a, b) => down * (value(a) - value(b) || a.name.localeCompare(b.name)));
}
