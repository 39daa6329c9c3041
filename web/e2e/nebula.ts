// A real Nebula for a file of journeys, with a hub of its own.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createWriteStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { inject } from "vitest";

export const password = "quiet lake morning 42";

export function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const s = createServer();
    s.on("error", fail);
    s.listen(0, "127.0.0.1", () => {
      const { port } = s.address() as { port: number };
      s.close(() => done(port));
    });
  });
}

/** Waits until `look` returns something; what it throws is said when the time is over. */
export async function until<T>(what: string, look: () => Promise<T | undefined | false> | T | undefined | false, ms = 60_000): Promise<T> {
  let last: unknown;
  for (const end = Date.now() + ms; Date.now() < end; ) {
    try {
      const got = await look();
      if (got) return got;
      last = got;
    } catch (e) {
      last = e;
    }
    await new Promise((r) => setTimeout(r, 50));
  }
  throw new Error(`${what}: not within ${ms / 1000} s; last: ${last instanceof Error ? last.message : JSON.stringify(last)}`);
}

type Faults = { BytesPerSecond?: number; Fail?: number; FailStatus?: number; Latency?: number };

export class Nebula {
  readonly dir = mkdtempSync(join(tmpdir(), "nebula-console-"));
  url = "";
  setupLink = "";
  hub = { url: "", scope: "" };
  private port = 0;
  private server: ChildProcess | null = null;
  private hubProcess: ChildProcess | null = null;
  private providerProcess: ChildProcess | null = null;
  private hubLines: AsyncIterator<string> | null = null;
  private starts = 0;
  private machines: ChildProcess[] = [];
  private flags: string[] = [];

  /** Starts a hub and a Nebula; with `users` there are ada (admin), otto (operator) and vera (viewer), with `provider` people may log in at one. */
  static async start({ users = true, provider = false, flags = [] as string[] } = {}): Promise<Nebula> {
    const n = new Nebula();
    n.flags = flags;
    n.port = await freePort();
    n.url = `http://127.0.0.1:${n.port}`;
    try {
      await n.startHub();
      if (provider) n.flags = [...flags, ...(await n.startProvider())];
      await n.up();
      if (users)
        for (const [name, role] of [
          ["ada", "admin"],
          ["otto", "operator"],
          ["vera", "viewer"],
        ])
          n.cli(["user", "create", name!, "--role", role!], `${password}\n`);
    } catch (e) {
      await n.end();
      throw e;
    }
    return n;
  }

  private async startHub() {
    const p = spawn(inject("hub"), { stdio: ["pipe", "pipe", "inherit"] });
    this.hubProcess = p;
    this.hubLines = createInterface({ input: p.stdout! })[Symbol.asyncIterator]();
    const first = JSON.parse((await this.hubLines.next()).value as string);
    this.hub = { url: first.hub, scope: first.scope };
  }

  /** Starts an OpenID provider, and returns the flags that make it this Nebula's. */
  private async startProvider(): Promise<string[]> {
    const p = spawn(inject("provider"), [`${this.url}/api/v2/auth/oidc/callback`], { stdio: ["pipe", "pipe", "inherit"] });
    this.providerProcess = p;
    const lines = createInterface({ input: p.stdout! })[Symbol.asyncIterator]();
    const first = JSON.parse((await lines.next()).value as string);
    const secret = join(this.dir, "client-secret");
    writeFileSync(secret, `${first.client_secret}\n`, { mode: 0o600 });
    return [
      ...["--oidc-issuer", first.issuer, "--oidc-client-id", first.client_id, "--oidc-client-secret-file", secret],
      ...["--oidc-role-map", "admin=platform,operator=on-call,viewer=staff"],
    ];
  }

  /** Changes how the hub behaves from now on. */
  async hubIs(faults: Faults) {
    this.hubProcess!.stdin!.write(`${JSON.stringify({ faults })}\n`);
    await this.hubLines!.next();
  }

  /** Publishes a repository with a model that says one thing. */
  async hubHas(id: string, reply: string) {
    this.hubProcess!.stdin!.write(`${JSON.stringify({ publish: { ID: id, Reply: reply } })}\n`);
    await this.hubLines!.next();
  }

  private env() {
    const { NEBULA_TOKEN: _t, NEBULA_SERVER: _s, ...env } = process.env;
    return {
      ...env,
      HOME: this.dir,
      NEBULA_DATA_DIR: join(this.dir, "data"),
      NEBULA_LISTEN: `127.0.0.1:${this.port}`,
      NEBULA_LLAMA_SERVER: inject("engine"),
      NO_COLOR: "1",
    };
  }

  /** Starts the server; after a stop on the same address. */
  async up() {
    const log = join(this.dir, `up-${++this.starts}.log`);
    const out = createWriteStream(log);
    await new Promise((opened) => out.once("open", opened));
    const p = spawn(
      inject("nebula"),
      ["up", "--hf-endpoint", this.hub.url, "--modelscope-endpoint", this.hub.scope, "--drain-timeout", "5s", ...this.flags],
      {
        stdio: ["ignore", out, out],
        env: this.env(),
        detached: true,
      },
    );
    this.server = p;
    const text = () => readFileSync(log, "utf8");
    await until("nebula is up", () => {
      if (p.exitCode !== null) throw new Error(`nebula ended: ${text().slice(-2000)}`);
      return text().includes("Nebula is up at");
    });
    this.setupLink = /^ *(http\S+\/setup#\S+)$/m.exec(text())?.[1] ?? "";
  }

  /** The process id of the server. */
  get pid(): number {
    return this.server!.pid!;
  }

  /** Ends the server as Ctrl-C does. */
  async down(signal: NodeJS.Signals = "SIGTERM", p = this.server) {
    if (!p || p.exitCode !== null || p.signalCode !== null) return;
    const ended = new Promise((done) => p.once("exit", done));
    p.kill(signal);
    await ended;
  }

  /** Runs a command, as the console shows it, that lets another machine join: one with a folder and a port of its own. */
  async machine(command: string): Promise<ChildProcess> {
    const dir = join(this.dir, `machine-${this.machines.length}`);
    const env = { ...this.env(), NEBULA_DATA_DIR: dir, NEBULA_LISTEN: `127.0.0.1:${await freePort()}` };
    const words = command.replace(/^nebula /, "");
    const p = spawn("bash", ["-c", `exec "$0" ${words} --stop-engines --drain-timeout 5s`, inject("nebula")], { stdio: "ignore", env });
    this.machines.push(p);
    return p;
  }

  /** Ends everything and removes what was kept. */
  async end() {
    for (const p of this.machines) await this.down("SIGTERM", p);
    await this.down();
    this.hubProcess?.stdin?.end();
    this.providerProcess?.stdin?.end();
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }

  /** Runs a command of the command line, as administrator of this machine. */
  cli(args: string[], input = ""): string {
    return execFileSync(inject("nebula"), args, { env: this.env(), input, encoding: "utf8", stdio: ["pipe", "pipe", "pipe"] });
  }

  /** Runs a line of the shell in which `nebula` is this program. */
  shell(line: string): string {
    return execFileSync("bash", ["-c", `nebula() { ${JSON.stringify(inject("nebula"))} "$@"; }\n${line}`], {
      env: this.env(),
      encoding: "utf8",
    });
  }

  /** Asks the API as administrator. */
  async api<T>(method: string, path: string, body?: unknown): Promise<T> {
    const token = readFileSync(join(this.dir, "data", "admin.token"), "utf8").trim();
    const response = await fetch(this.url + path, {
      method,
      headers: { Authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as T;
  }

  async state(uid: string): Promise<string> {
    return (await this.api<{ state: string }>("GET", `/api/v2/models/${uid}`)).state;
  }

  /** Writes a demo model that always gives one reply, and returns its path. */
  demoModel(name: string, reply: string): string {
    return this.cli(["demo-model", join(this.dir, "demo"), "--name", name, "--reply", reply]).trim();
  }

  /** Declares a demo model and waits until it runs. */
  async running(uid: string, reply = `I am ${uid}.`): Promise<void> {
    this.cli(["model", "create", "--uid", uid, "--path", this.demoModel(uid, reply), "--engine", "llamacpp", "--start"]);
    await until(`${uid} runs`, async () => (await this.state(uid)) === "running");
  }
}
