// Menus, tips and notices come after the page: they are a fifth of what it would have to read before it can draw anything.
import { useEffect, useSyncExternalStore } from "react";

type Parts = typeof import("./overlayParts");

let parts: Parts | null = null;
let coming: Promise<void> | null = null;
const told = new Set<() => void>();

/** Fetches what lies over pages, once. What could not be fetched is tried again with the next call. */
export function fetchOverlays(): Promise<void> {
  coming ??= import("./overlayParts").then(
    (p) => {
      parts = p;
      for (const f of told) f();
    },
    (e) => {
      coming = null;
      throw e;
    },
  );
  return coming;
}

/** What lies over pages, or null until it is there. */
export function overlays(): Parts | null {
  return parts;
}

function follow(changed: () => void) {
  told.add(changed);
  return () => void told.delete(changed);
}

/** The same for what is drawn with it; it is fetched when it is wanted, and what failed is tried again when that changes. */
export function useOverlays(wanted: boolean | number): Parts | null {
  useEffect(() => {
    if (wanted) fetchOverlays().catch(() => {}); // the next wish tries again
  }, [wanted]);
  return useSyncExternalStore(follow, overlays);
}
