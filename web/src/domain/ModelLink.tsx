import { useRouter } from "@tanstack/react-router";
import type { MouseEvent, ReactNode } from "react";

/** A model's name as the way to its page. In a long list the router's own link, which follows the address, would cost more than the rest of the row. */
export function ModelLink({ uid, children }: { uid: string; children: ReactNode }) {
  const router = useRouter();
  const place = { to: "/models/$uid", params: { uid } } as const;
  const go = (e: MouseEvent) => {
    if (e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return; // a new tab is the browser's matter
    e.preventDefault();
    router.navigate(place);
  };
  return (
    <a className="link clip" href={`/models/${encodeURIComponent(uid)}`} onClick={go} onPointerDown={() => void router.preloadRoute(place)}>
      {children}
    </a>
  );
}
