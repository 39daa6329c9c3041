// What the server shows, kept current: one source for each address, shared by whoever looks, alive while somebody does and the page can be seen.
import { useCallback, useSyncExternalStore } from "react";
import { type ApiError, request } from "./client";
import { keep, type Mode, watchOf } from "./keep";
import type { ServerEvent } from "./stream";

export type Snapshot<T> = { data: T | undefined; error: ApiError | null; mode: Mode };

/** Turns events into what is shown. */
export type Reader<T> = {
  take(event: ServerEvent, before: T | undefined): T | undefined;
  /** Whether everything that there was has come with this event. */
  whole(event: ServerEvent): boolean;
  /** Whether a watch may be resumed after its last event; otherwise it starts anew. */
  resumes: boolean;
  /** The event that the answer without a watch would be. */
  plain: string;
};

class Source<T> {
  private snapshot: Snapshot<T> = { data: undefined, error: null, mode: "connecting" };
  private readonly listeners = new Set<() => void>();
  private stop: AbortController | null = null;
  private since = "";
  private held: T | undefined;
  private frame = 0;

  constructor(
    private readonly path: string,
    private readonly reader: Reader<T>,
  ) {}

  get = () => this.snapshot;

  subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    if (!this.stop) this.start();
    return () => {
      this.listeners.delete(listener);
      // A page that is left and another that is opened often show the same: wait a moment before the stream is closed.
      setTimeout(() => this.listeners.size === 0 && this.end(), 250);
    };
  };

  /** Tries again now, after an error. */
  refresh = () => {
    if (this.snapshot.error === null) return;
    this.end();
    this.start();
  };

  /** Stops following. */
  end() {
    this.stop?.abort();
    this.stop = null;
  }

  private start() {
    this.stop = new AbortController();
    keep(
      {
        address: () => watchOf(this.path, this.reader.resumes ? this.since : ""),
        take: (event, mode) => {
          if (event.id) this.since = event.id;
          this.held = this.reader.take(event, this.held);
          const whole = this.reader.whole(event);
          if (whole) this.publishSoon(mode);
          return whole;
        },
        look: async (signal) => {
          const response = await request(this.path, { signal });
          if (response.headers.get("Nebula-Next-Cursor")) return false; // a part of a list, where a watch brings all of it
          this.held = this.reader.take({ type: this.reader.plain, id: "", data: await response.text() }, this.held);
          this.publishSoon("polling");
          return true;
        },
        failed: (error) => {
          if (error.status === 400) this.since = "";
          this.publish({ error, mode: "offline" });
        },
      },
      this.stop.signal,
    );
  }

  /** Many events come at once: what they make is shown once a frame. */
  private publishSoon(mode: Mode) {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.publish({ data: this.held, error: null, mode });
    });
  }

  private publish(change: Partial<Snapshot<T>>) {
    this.snapshot = { ...this.snapshot, ...change };
    for (const l of this.listeners) l();
  }
}

const sources = new Map<string, Source<unknown>>();

function sourceOf<T>(path: string, reader: Reader<T>): Source<T> {
  let s = sources.get(path) as Source<T> | undefined;
  if (!s) {
    s = new Source<T>(path, reader);
    sources.set(path, s as Source<unknown>);
  }
  return s;
}

/** Forgets everything, when somebody else logs in. */
export function forgetSources() {
  for (const s of sources.values()) s.end();
  sources.clear();
}

export type Live<T> = Snapshot<T> & { refresh: () => void };

const idle: Snapshot<never> = { data: undefined, error: null, mode: "connecting" };
const never = () => () => {};

/** Follows an address while the component is there; null follows nothing. */
export function useSource<T>(path: string | null, reader: Reader<T>): Live<T> {
  const s = path === null ? null : sourceOf<T>(path, reader);
  const snapshot = useSyncExternalStore(s ? s.subscribe : never, s ? s.get : () => idle as Snapshot<T>);
  const refresh = useCallback(() => s?.refresh(), [s]);
  return { ...snapshot, refresh };
}

const wholeList: Reader<unknown> = { take: (e) => JSON.parse(e.data), whole: () => true, resumes: false, plain: "list" };

/** Follows a list that the server sends whole whenever it changes. */
export function useLive<T>(path: string | null): Live<T> {
  return useSource<T>(path, wholeList as Reader<T>);
}
