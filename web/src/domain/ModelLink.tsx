import { useRouter } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { press } from "../lib/press";

/** A model's name as the way to its page. In a long list the router's own link, which follows the address, would cost more than the rest of the row. */
export function ModelLink({ uid, children }: { uid: string; children: ReactNode }) {
  const router = useRouter();
  const place = { to: "/models/$uid", params: { uid } } as const;
  return (
    <a
      className="link clip"
      href={`/models/${encodeURIComponent(uid)}`}
      onClick={(e) => press(e, () => router.navigate(place))}
      onPointerDown={() => void router.preloadRoute(place)}
    >
      {children}
    </a>
  );
}
