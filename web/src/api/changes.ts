// Follows the changes of a list from a revision on, in batches; whoever shows the list decides what to do with them.
import { request } from "./client";
import { keep, type Mode, watchOf } from "./keep";
import type { ServerEvent } from "./stream";

/** How often at most a list is asked for again because something came or went, in milliseconds. */
const againEvery = 400;

export type Taker<T> = {
  mode(mode: Mode): void;
  /** Takes what changed since the last batch, null for what is gone; true asks for `again`. */
  changed(batch: Map<string, T | null>): boolean;
  again(): void;
};

/** How the events of a list are read. */
export type Events<T> = { type: string; idOf: (row: T) => string; idOfGone: (data: Record<string, string>) => string };

/** Follows until the function that it returns is called. */
export function followChanges<T>(path: string, from: string, events: Events<T>, to: Taker<T>): () => void {
  const stop = new AbortController();
  let since = from;
  let batch = new Map<string, T | null>();
  let frame = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asked = 0;

  /** Asks for the list again: at once when it was not asked for lately, else when it may be. */
  function ask() {
    timer ??= setTimeout(
      () => {
        timer = undefined;
        asked = Date.now();
        to.again();
      },
      Math.max(0, asked + againEvery - Date.now()),
    );
  }
  function add(id: string, row: T | null) {
    batch.set(id, row);
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      const all = batch;
      batch = new Map();
      if (to.changed(all)) ask();
    });
  }
  function take(e: ServerEvent, mode: Mode): boolean {
    if (e.id) since = e.id;
    if (e.type === "reset") ask();
    else if (e.type === "deleted") add(events.idOfGone(JSON.parse(e.data)), null);
    else if (e.type === "synced") to.mode(mode);
    else if (e.type === events.type) {
      const row = JSON.parse(e.data) as T;
      add(events.idOf(row), row);
    }
    return e.type === "synced";
  }
  keep(
    {
      address: () => watchOf(path, since),
      take,
      /** Most of the time nothing has happened: the revision says so. */
      async look(signal) {
        if (!since) return false;
        const url = new URL(path, location.origin);
        url.searchParams.set("limit", "1");
        const response = await request(url, { signal });
        await response.text();
        if (response.headers.get("Nebula-Revision") !== since) return false;
        to.mode("polling");
        return true;
      },
      failed(error) {
        if (error.status === 400) since = "";
        to.mode("offline");
      },
    },
    stop.signal,
  );
  return () => {
    stop.abort();
    cancelAnimationFrame(frame);
    clearTimeout(timer);
  };
}
