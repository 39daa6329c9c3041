// A browser that nothing looks into while it is measured. A driver for tests has the browser tell of all requests, errors and words on the console,
// and for each of them note from which line of which script it came: on a page that is loaded for the first time that takes longer than the page.
// Here the browser is asked by its own protocol (https://chromedevtools.github.io/devtools-protocol/), with no more of it than is used.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { inject } from "vitest";
import { password, until } from "../e2e/nebula";

type Answer = { id?: number; result?: Record<string, unknown>; error?: { message: string } };

export class Bare {
  private readonly waiting = new Map<number, (a: Answer) => void>();
  private last = 0;
  private rest = "";

  private constructor(
    private readonly process: ChildProcess,
    private readonly dir: string,
  ) {
    const answers = process.stdio[4] as Readable;
    answers.setEncoding("utf8").on("data", (text: string) => {
      const all = (this.rest + text).split("\0");
      this.rest = all.pop()!;
      for (const a of all.map((t) => JSON.parse(t) as Answer)) if (a.id) this.waiting.get(a.id)?.(a);
    });
  }

  static open(): Bare {
    const dir = mkdtempSync(join(tmpdir(), "nebula-bare-"));
    const args = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run", "--force-prefers-reduced-motion"];
    const process = spawn(inject("browser"), [...args, "--remote-debugging-pipe", "--window-size=1280,860", `--user-data-dir=${dir}`], {
      stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
    });
    return new Bare(process, dir);
  }

  async ask<T>(method: string, params: object = {}, sessionId?: string): Promise<T> {
    const id = ++this.last;
    const answer = new Promise<Answer>((done) => this.waiting.set(id, done));
    (this.process.stdio[3] as Writable).write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    const { result, error } = await answer;
    this.waiting.delete(id);
    if (error) throw new Error(`${method}: ${error.message}`);
    return result as T;
  }

  /** A tab of ada's, with cookies and a cache that it shares with no other, at a page of the same server that has nothing of the console. */
  async visit(base: string): Promise<Tab> {
    const answer = await fetch(`${base}/api/v2/auth/login`, {
      method: "POST",
      headers: { Origin: base, "Content-Type": "application/json" },
      body: JSON.stringify({ username: "ada", password }),
    });
    if (!answer.ok) throw new Error(`log in: ${answer.status} ${await answer.text()}`);
    const cookies = answer.headers.getSetCookie().map((c) => {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(c)!;
      return { name, value, url: base };
    });
    const { browserContextId } = await this.ask<{ browserContextId: string }>("Target.createBrowserContext");
    await this.ask("Storage.setCookies", { cookies, browserContextId });
    const { targetId } = await this.ask<{ targetId: string }>("Target.createTarget", {
      url: "about:blank",
      browserContextId,
      width: 1280,
      height: 860,
    });
    const { sessionId } = await this.ask<{ sessionId: string }>("Target.attachToTarget", { targetId, flatten: true });
    const tab = new Tab(this, sessionId, base, browserContextId);
    await tab.ask("Page.enable");
    await tab.go("/api/docs");
    return tab;
  }

  async close() {
    await this.ask("Browser.close").catch(() => {});
    if (this.process.exitCode === null) await new Promise((done) => this.process.once("exit", done));
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export class Tab {
  constructor(
    private readonly browser: Bare,
    private readonly session: string,
    private readonly base: string,
    private readonly context: string,
  ) {}

  ask<T>(method: string, params: object = {}): Promise<T> {
    return this.browser.ask<T>(method, params, this.session);
  }

  /** Begins to go to a page, and waits until it has taken the place of the one before. */
  async go(path: string) {
    await this.ask("Page.navigate", { url: this.base + path });
    await this.until(`the page ${path}`, (href) => location.href === href && document.readyState !== "loading", this.base + path);
  }

  /** Has every page from now on run this first. */
  async first(f: () => void) {
    await this.ask("Page.addScriptToEvaluateOnNewDocument", { source: `(${f})()` });
  }

  /** Runs a function in the page and returns what it, or its promise, came to. */
  async run<A extends unknown[], R>(f: (...args: A) => R, ...args: A): Promise<Awaited<R>> {
    const { result, exceptionDetails } = await this.ask<{
      result: { value: Awaited<R> };
      exceptionDetails?: { text: string; exception?: { description?: string } };
    }>("Runtime.evaluate", {
      expression: `(${f})(${args.map((a) => JSON.stringify(a)).join(", ")})`,
      awaitPromise: true,
      returnByValue: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  async until<A extends unknown[]>(what: string, f: (...args: A) => boolean, ...args: A) {
    await until(what, () => this.run(f, ...args).catch(() => false));
  }

  /** Turns the wheel over a place. */
  async wheel(x: number, y: number, deltaY: number) {
    await this.ask("Input.dispatchMouseEvent", { type: "mouseWheel", x, y, deltaX: 0, deltaY });
  }

  /** Presses and lets go of the key of a letter. */
  async key(letter: string) {
    await this.ask("Input.dispatchKeyEvent", { type: "keyDown", key: letter, text: letter });
    await this.ask("Input.dispatchKeyEvent", { type: "keyUp", key: letter });
  }

  /** Puts a text in the place of what is selected, as one from the clipboard. */
  async insert(text: string) {
    await this.ask("Input.insertText", { text });
  }

  async close() {
    await this.browser.ask("Target.disposeBrowserContext", { browserContextId: this.context });
  }
}
