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
        // What most pages share comes in two files and not in sixty: each file costs a request and its headers.
        codeSplitting: {
          groups: [
            { name: "base", test: /node_modules/, minShareCount: 5 },
            { name: "parts", minShareCount: 5 },
          ],
        },
      },
    },
  },
  server: { proxy: { "/api": server, "/v1": server } },
});
