import { readFileSync } from "node:fs";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin, type Rolldown } from "vite";
import { scriptOf } from "./src/app/ahead.ts";

// In development Vite serves the console and hands everything else to a Nebula that runs on this machine.
const server = process.env.NEBULA_URL ?? "http://127.0.0.1:8080";

/** Puts the script of src/app/ahead.ts into the page; which page has which route, the router says. */
function ahead(): Plugin {
  return {
    name: "ahead",
    apply: "build",
    transformIndexHtml: {
      order: "post",
      handler(html, { bundle = {} }) {
        const chunks = Object.values(bundle).filter((o) => o.type === "chunk");
        const filesOf = (c: Rolldown.OutputChunk, seen = new Set<string>()): Set<string> => {
          if (seen.has(c.fileName)) return seen;
          seen.add(c.fileName);
          for (const css of c.viteMetadata?.importedCss ?? []) seen.add(css);
          for (const name of c.imports) filesOf(bundle[name] as Rolldown.OutputChunk, seen);
          return seen;
        };
        const first = filesOf(chunks.find((c) => c.isEntry)!);
        const after = (module: string) => {
          const chunk = chunks.find((c) => c.facadeModuleId?.replace(/\.tsx?$/, "").endsWith(`/src/${module}`));
          if (!chunk) throw new Error(`no file of the console begins with ${module}`);
          return [...filesOf(chunk)].filter((name) => !first.has(name));
        };
        const router = readFileSync("src/app/router.tsx", "utf8");
        const pages = [...router.matchAll(/path: "([^"]+)",[^{}]*?(?:\{[^{}]*\}[^{}]*?)*?import\("\.\.\/(features\/[^"]+)"\)/g)];
        if (pages.length !== router.split("lazyRouteComponent(()").length - 1) throw new Error("a route of the router was not understood");
        const routes = Object.fromEntries(pages.map(([, path, module]) => [path!, after(module!)]));
        const languages = { en: after("lib/i18n/en/index"), zh: after("lib/i18n/zh/index") };
        const style = html.indexOf('<link rel="stylesheet"'); // a script that comes after a style waits for it
        return `${html.slice(0, style)}<script>${scriptOf({ routes, languages })}</script>\n    ${html.slice(style)}`;
      },
    },
  };
}

export default defineConfig({
  plugins: [react(), ahead()],
  html: { cspNonce: "__CSP_NONCE__" },
  build: {
    outDir: "dist/console",
    emptyOutDir: true,
    target: "es2023",
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1000,
    rolldownOptions: {
      output: {
        // What every page needs comes in one file, and what most pages share in two others, of which lists and their pictures need one: each file costs a request and its
        // headers, and what is in it has to be read before a page is drawn.
        codeSplitting: {
          groups: [
            { name: "main", tags: ["$initial"] },
            {
              name: "list",
              test: /react-virtual|virtual-core|src.ui.Table|src.api.pages|use-debounced-callback|icons-react/,
              minShareCount: 2,
            },
            { name: "parts", minShareCount: 4 },
          ],
        },
      },
    },
  },
  server: { proxy: { "/api": server, "/v1": server } },
});
