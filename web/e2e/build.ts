// What the journeys need: the program with the console in it, the hub, a login provider, an engine and a browser. Whatever is missing is said at once, by name.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { resolve } from "node:path";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  export interface ProvidedContext {
    nebula: string;
    hub: string;
    provider: string;
    engine: string;
    browser: string;
  }
}

export default function setup(project: TestProject) {
  const root = resolve("..");
  const cache = resolve(root, ".cache/console");
  mkdirSync(cache, { recursive: true });
  if (!existsSync("dist/console/index.html")) throw new Error("the console is not built: run make web");
  const go = (out: string, pkg: string, module = ".") =>
    execFileSync("go", ["build", "-buildvcs=false", "-trimpath", "-o", out, pkg], {
      cwd: resolve(root, module),
      stdio: "inherit",
      env: { ...process.env, CGO_ENABLED: "0" },
    });
  const nebula = process.env.NEBULA_BIN ?? resolve(cache, "nebula");
  if (!process.env.NEBULA_BIN) go(nebula, "./cmd/nebula");
  const hub = resolve(cache, "hub");
  go(hub, "./test/console");
  const provider = resolve(cache, "provider");
  go(provider, "./console", "test/oidc");
  const engine = process.env.NEBULA_LLAMA_SERVER ?? execFileSync(resolve(root, "scripts/llama-server.sh"), { encoding: "utf8" }).trim();
  const browser = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);
  if (!browser) throw new Error("chromium is not installed: apt-get install chromium");
  project.provide("nebula", nebula);
  project.provide("hub", hub);
  project.provide("provider", provider);
  project.provide("engine", engine);
  project.provide("browser", browser);
}
