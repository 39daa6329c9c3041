// Server-sent events over fetch: unlike EventSource it shows the status of an answer and lets the caller resume where it likes.
import { createParser } from "eventsource-parser";
import { ApiError, errorOf, jsonOf, request } from "./client";

export type ServerEvent = { type: string; id: string; data: string };

/** Yields the events of one connection until the server ends it; an answer that is no stream is thrown as ApiError. `body` is sent as JSON, by POST. */
export async function* events(path: string, signal: AbortSignal, body?: unknown): AsyncGenerator<ServerEvent> {
  let response: Response;
  try {
    const method = body === undefined ? "GET" : "POST";
    response = await request(path, { method, signal, ...jsonOf(body, { Accept: "text/event-stream" }) });
  } catch (e) {
    if (signal.aborted) return;
    throw e;
  }
  if (!response.body) throw await errorOf(response);
  const pending: ServerEvent[] = [];
  const parser = createParser({ onEvent: (e) => pending.push({ type: e.event ?? "message", id: e.id ?? "", data: e.data }) });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      parser.feed(value);
      yield* pending.splice(0);
    }
  } catch (e) {
    if (!signal.aborted) throw e instanceof ApiError ? e : new ApiError(0, "unreachable", "");
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** How often what cannot be streamed is looked at, in milliseconds. */
export const pollEvery = 8000;

// A browser opens six connections to one server over HTTP/1.1, for all of its tabs together. Streams take at most four of them, so that requests always
// find one; whoever gets no slot looks every eight seconds instead. Over HTTP/2 there is no such limit.
const slots = ["nebula-stream-0", "nebula-stream-1", "nebula-stream-2", "nebula-stream-3"];
let local = 0;

function multiplexed(): boolean {
  const nav = performance.getEntriesByType?.("navigation")[0] as PerformanceNavigationTiming | undefined;
  return nav?.nextHopProtocol === "h2" || nav?.nextHopProtocol === "h3";
}

/** Runs `work` while it holds one of the connections that streams may use; returns false at once, without having run it, when there is none. */
export async function withSlot(work: () => Promise<void>): Promise<boolean> {
  if (multiplexed()) {
    await work();
    return true;
  }
  if (!navigator.locks) {
    // Not a secure context: tabs cannot see each other, so each keeps to its share.
    if (local >= 2) return false;
    local++;
    try {
      await work();
    } finally {
      local--;
    }
    return true;
  }
  for (const name of slots) {
    const got = await navigator.locks.request(name, { ifAvailable: true }, async (lock) => {
      if (!lock) return false;
      await work();
      return true;
    });
    if (got) return true;
  }
  return false;
}

/** Resolves after `ms`, or at once when the signal ends it. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
}

/** Resolves when the page can be seen, or the signal ends it. */
export function seen(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (document.visibilityState === "visible" || signal.aborted) return resolve();
    function look() {
      if (document.visibilityState !== "visible" && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      signal.removeEventListener("abort", look);
      resolve();
    }
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look);
  });
}
