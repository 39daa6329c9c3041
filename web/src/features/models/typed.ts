import { useDebouncedCallback } from "@mantine/hooks";
import { useState } from "react";
import { listAhead } from "./queries";
import type { ModelsSearch } from "./search";

/** What is typed into the search goes ahead of the address: the list asks for each letter; the address, and what counts, follow when the typing has ended. */
export function useTyped(search: ModelsSearch, follow: (q: string) => Promise<unknown>) {
  const [typed, setTyped] = useState<string | null>(null);
  const settle = useDebouncedCallback((q: string) => {
    follow(q).finally(() => setTyped((now) => (now === q ? null : now)));
  }, 250); // milliseconds
  return {
    wanted: typed === null ? search : { ...search, q: typed },
    type(q: string) {
      void listAhead({ ...search, q });
      setTyped(q);
      settle(q);
    },
    /** Forgets what the address does not have yet. */
    drop() {
      settle.cancel();
      setTyped(null);
    },
  };
}
