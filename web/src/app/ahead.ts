// What runs in the page's head, before the console's first file is there: it asks for the files of the page of the address and for its texts. Otherwise
// they would be asked for only after that file, which is the largest, has been read. Vite writes these functions into the page as they are: they use
// nothing from around them.
import { preferred, storeKey } from "../lib/language.ts";

/** The files that each page needs, by its route ("/models/$uid"), and those of each language. */
export type Ahead = { routes: Record<string, string[]>; languages: Record<string, string[]> };

/** The files of the route that an address has; none for an address without a page. */
export function filesOf(address: string, routes: Record<string, string[]>): string[] {
  const parts = address.split("/");
  const route = Object.keys(routes).find((r) => {
    const wanted = r.split("/");
    return wanted.length === parts.length && wanted.every((w, i) => (w[0] === "$" ? parts[i] !== "" : w === parts[i]));
  });
  return route === undefined ? [] : (routes[route] ?? []);
}

/** Asks for files, with their names below `base`. */
export function ask(files: string[], base: string, to: Document) {
  for (const name of files) {
    const link = to.createElement("link");
    if (name.endsWith(".js")) link.rel = "modulepreload";
    else {
      link.rel = "preload";
      link.as = "style";
    }
    link.crossOrigin = "";
    link.href = base + name;
    to.head.append(link);
  }
}

/** The script, with what was found when the console was built. */
export function scriptOf(ahead: Ahead): string {
  return `(() => {
const { routes, languages } = ${JSON.stringify(ahead)}, filesOf = ${filesOf}, preferred = ${preferred}, ask = ${ask};
const language = languages[preferred(localStorage.getItem(${JSON.stringify(storeKey)}), navigator.languages)];
ask([...filesOf(location.pathname, routes), ...language], "/", document);
})();`;
}
