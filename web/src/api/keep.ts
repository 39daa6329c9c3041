// Keeps a watch going: as a stream while one can be had, else by looking every eight seconds; not at all while the page is hidden.
import { ApiError } from "./client";
import { events, pause, pollEvery, type ServerEvent, seen, withSlot } from "./stream";

/** `connecting` has nothing yet, `live` follows a stream, `polling` looks every eight seconds, `offline` tries again. */
export type Mode = "connecting" | "live" | "polling" | "offline";

export type Watch = {
  /** Where to ask, from where it was left. */
  address(): string;
  /** Takes one event; true when everything that there was has come with it. */
  take(event: ServerEvent, mode: Mode): boolean;
  /** Looks once, without a stream, where that is less work for the server; false: it could not. */
  look?(signal: AbortSignal): Promise<boolean>;
  failed(error: ApiError): void;
};

/** Follows until the signal ends it, or an answer says that asking again would change nothing. */
export async function keep(watch: Watch, signal: AbortSignal): Promise<void> {
  for (let failures = 0; !signal.aborted; ) {
    await seen(signal);
    if (signal.aborted) return;
    try {
      if (!(await withSlot(() => once(watch, signal, true)))) {
        if (!(await watch.look?.(signal))) await once(watch, signal, false);
        await pause(pollEvery, signal);
      }
      failures = 0;
    } catch (e) {
      if (signal.aborted) return;
      const error = e instanceof ApiError ? e : new ApiError(0, "unreadable", String(e));
      watch.failed(error);
      if (error.status === 401 || error.status === 403 || error.status === 404) return;
      await pause(Math.min(500 * 2 ** failures++, pollEvery), signal);
    }
    // A server that ends streams at once must not be asked without a pause.
    await pause(50, signal);
  }
}

/** One connection. With `stay` it lasts until it ends or the page is hidden, otherwise only until all has come. */
async function once(watch: Watch, outer: AbortSignal, stay: boolean) {
  const inner = new AbortController();
  const close = () => inner.abort();
  const hidden = () => document.visibilityState === "hidden" && close();
  outer.addEventListener("abort", close);
  document.addEventListener("visibilitychange", hidden);
  try {
    for await (const event of events(watch.address(), inner.signal)) {
      if (watch.take(event, stay ? "live" : "polling") && !stay) return;
    }
  } finally {
    close();
    outer.removeEventListener("abort", close);
    document.removeEventListener("visibilitychange", hidden);
  }
}

/** The address of a watch. */
export function watchOf(path: string, since: string): string {
  return `${path}${path.includes("?") ? "&" : "?"}watch=1${since ? `&since=${since}` : ""}`;
}
