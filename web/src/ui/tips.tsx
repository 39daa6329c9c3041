// One tooltip for the whole page: what carries data-tip, and each time that is told as a distance, says it when the pointer rests on it or the keyboard reaches it. A tooltip of its own
// for each cell of a long list would cost more than the cell.
import { useEffect, useState } from "react";
import { exact } from "../lib/format";
import { spoken } from "../lib/i18n";
import { useOverlays } from "./overlays";

const delay = 200; // milliseconds

type Shown = { target: HTMLElement; label: string };

/** Shows the tips of all elements that have one. To be drawn once. */
export function Tips() {
  const [shown, setShown] = useState<Shown | null>(null);
  useEffect(() => {
    let target: HTMLElement | null = null;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const to = (next: HTMLElement | null, after: number) => {
      if (next === target) return;
      target = next;
      clearTimeout(timer);
      setShown(null);
      if (next) timer = setTimeout(() => setShown({ target: next, label: sayingOf(next) }), after);
    };
    const over = (e: Event) => to(tipOf(e.target), delay);
    const focus = (e: Event) => {
      const next = tipOf(e.target);
      if (next?.matches(":focus-visible")) to(next, 0);
    };
    const away = () => to(null, 0);
    const key = (e: KeyboardEvent) => e.key === "Escape" && away();
    // What a press has changed, as "Copied", is said at once.
    const watch = new MutationObserver((all) => {
      for (const m of all) {
        const next = m.target as HTMLElement;
        if (next === target) setShown((s) => s && { target: next, label: sayingOf(next) });
      }
    });
    watch.observe(document.body, { subtree: true, attributes: true, attributeFilter: ["data-tip"] });
    document.addEventListener("pointerover", over);
    document.addEventListener("focusin", focus);
    document.addEventListener("focusout", away);
    document.addEventListener("scroll", away, { capture: true, passive: true });
    document.addEventListener("keydown", key);
    return () => {
      clearTimeout(timer);
      watch.disconnect();
      document.removeEventListener("pointerover", over);
      document.removeEventListener("focusin", focus);
      document.removeEventListener("focusout", away);
      document.removeEventListener("scroll", away, { capture: true });
      document.removeEventListener("keydown", key);
    };
  }, []);
  const Tooltip = useOverlays(shown !== null)?.Tooltip;
  if (!shown?.label || !Tooltip) return null;
  return <Tooltip opened target={shown.target} label={shown.label} />;
}

function tipOf(target: EventTarget | null): HTMLElement | null {
  return target instanceof Element ? target.closest<HTMLElement>("[data-tip], time.when") : null;
}

/** A time's tip is made when it is shown: the browser needs 40 ms for its first exact time. */
function sayingOf(e: HTMLElement): string {
  return e instanceof HTMLTimeElement ? exact(Date.parse(e.dateTime), spoken().language) : (e.dataset.tip ?? "");
}
