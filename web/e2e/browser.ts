// A real browser for journeys. Whatever a page logs as an error, throws, or may not do by its policy fails the journey that caused it.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import type axe from "axe-core";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { inject } from "vitest";
import { password } from "./nebula";

export type { Page } from "playwright-core";

let browser: Browser | null = null;
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** A page that turns pictures into smaller ones. */
let painter: Page | null = null;

export async function openBrowser() {
  browser ??= await chromium.launch({ executablePath: inject("browser"), args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  return browser;
}

export async function closeBrowser() {
  await browser?.close();
  browser = painter = null;
}

export type Look = { dark?: boolean; zh?: boolean; width?: number; height?: number };

export class Visitor {
  readonly complaints: string[] = [];

  private constructor(
    readonly context: BrowserContext,
    readonly page: Page,
    private readonly base: string,
  ) {}

  /** Opens a browser of one's own: cookies and storage are shared with nobody. */
  static async open(base: string, look: Look = {}): Promise<Visitor> {
    const context = await (await openBrowser()).newContext({
      viewport: { width: look.width ?? 1280, height: look.height ?? 860 },
      colorScheme: look.dark ? "dark" : "light",
      locale: look.zh ? "zh-CN" : "en-US",
      reducedMotion: "reduce",
      permissions: ["clipboard-read", "clipboard-write"],
    });
    context.setDefaultTimeout(30_000);
    const v = new Visitor(context, await context.newPage(), base);
    v.watch(v.page);
    return v;
  }

  watch(page: Page) {
    page.on("pageerror", (e) => this.complaints.push(`thrown: ${e}`));
    page.on("console", (m) => {
      // The browser itself reports every answer that is not 2xx; what the page makes of those is what the journeys look at.
      if (m.type() === "error" && !m.text().startsWith("Failed to load resource")) this.complaints.push(`console: ${m.text()}`);
    });
    page.on("dialog", (d) => {
      this.complaints.push(`dialog: ${d.message()}`);
      d.dismiss();
    });
  }

  /** Logs in as one of the three users, and goes to a page. */
  static async as(base: string, user: string, path = "/", look: Look = {}): Promise<Visitor> {
    const v = await Visitor.open(base, look);
    const answer = await v.context.request.post(`${base}/api/v2/auth/login`, {
      data: { username: user, password },
      headers: { Origin: base },
    });
    if (!answer.ok()) throw new Error(`log in as ${user}: ${answer.status()} ${await answer.text()}`);
    await v.go(path);
    return v;
  }

  async go(path: string) {
    await this.page.goto(this.base + path);
  }

  /** Goes to another page as a link of the console does: without loading the console again, which takes most of the time. */
  async turnTo(path: string) {
    await this.page.evaluate(async (href) => {
      type Router = { navigate: (to: { href: string }) => Promise<void> };
      await (window as unknown as { __TSR_ROUTER__: Router }).__TSR_ROUTER__.navigate({ href });
    }, path);
    await this.page.waitForFunction((href) => {
      type Router = { state: { resolvedLocation?: { href: string }; status: string } };
      const { state } = (window as unknown as { __TSR_ROUTER__: Router }).__TSR_ROUTER__;
      return state.status === "idle" && state.resolvedLocation?.href === href;
    }, path);
  }

  /** Waits until the page has its content: a heading, and nothing that is still being loaded. */
  async settled() {
    await this.page.getByRole("heading", { level: 1 }).first().waitFor();
    await this.page.waitForFunction(() => !document.querySelector('[aria-busy="true"]'));
  }

  /** Whether the page is as dark or as light as the system is from now on. */
  async scheme(dark: boolean) {
    const scheme = dark ? "dark" : "light";
    await this.page.emulateMedia({ colorScheme: scheme });
    await this.page.locator(`html[data-mantine-color-scheme="${scheme}"]`).waitFor();
  }

  /** How many pixels the page is wider than the window. */
  tooWide(): Promise<number> {
    return this.page.evaluate(() => Math.max(0, document.documentElement.scrollWidth - innerWidth));
  }

  /** Everything that axe knows of WCAG 2.2 AA and good practice; empty when the page has no fault. */
  async axe(): Promise<string[]> {
    if (!(await this.page.evaluate(() => "axe" in window))) await this.page.evaluate(axeSource);
    return this.page.evaluate(async () => {
      // Styles are there already; and what is right is not written down, which would take longer than finding what is wrong.
      const { violations } = await (window as unknown as { axe: typeof axe }).axe.run({ preload: false, resultTypes: ["violations"] });
      return violations.map(
        (v) =>
          `${v.id}: ${v.help} — ${v.nodes
            .map((n) => n.target.join(" "))
            .slice(0, 3)
            .join(" | ")}`,
      );
    });
  }

  /** Writes a picture of what can be seen, as WebP: there are many, and they are kept. */
  async picture(file: string) {
    const png = (await this.page.screenshot()).toString("base64");
    painter ??= await (await openBrowser()).newPage();
    const webp = await painter.evaluate(async (data) => {
      const image = new Image();
      image.src = `data:image/png;base64,${data}`;
      await image.decode();
      const canvas = document.createElement("canvas");
      canvas.width = image.width;
      canvas.height = image.height;
      canvas.getContext("2d")!.drawImage(image, 0, 0);
      return canvas.toDataURL("image/webp", 0.8).split(",")[1]!;
    }, png);
    writeFileSync(file, Buffer.from(webp, "base64"));
  }

  async close() {
    await this.context.close();
    if (this.complaints.length > 0) throw new Error(`the page complained:\n${this.complaints.join("\n")}`);
  }
}
