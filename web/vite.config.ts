import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// In development Vite serves the console and hands everything else to a Nebula that runs on this machine.
const server = process.env.NEBULA_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react()],
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
