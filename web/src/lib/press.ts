import type { MouseEvent } from "react";

/** Follows a link within the console. What asks for a new tab or window, or to save, stays the browser's matter. */
export function press(e: MouseEvent, go: () => void) {
  if (e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
  e.preventDefault();
  go();
}
