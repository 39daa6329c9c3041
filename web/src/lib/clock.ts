// One clock for all relative times of the page: it ticks every ten seconds while somebody looks.
import { useSyncExternalStore } from "react";

const listeners = new Set<() => void>();
let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void) {
  listeners.add(listener);
  timer ??= setInterval(() => {
    if (document.visibilityState === "hidden") return;
    now = Date.now();
    for (const l of listeners) l();
  }, 10_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

function last(): number {
  // Without a timer nothing moves the clock; the floor keeps the answer the same for a while, as React wants it.
  if (timer === undefined) now = Math.max(now, Math.floor(Date.now() / 10_000) * 10_000);
  return now;
}

/** The time, as of the last tick, in milliseconds. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, last);
}
