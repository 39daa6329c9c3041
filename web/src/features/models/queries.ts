import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { type ApiError, type Schemas, send } from "../../api/client";
import type { ModelView } from "../../api/models";
import { pagesQuery, usePages } from "../../api/pages";
import { queries } from "../../api/queries";
import { queryOf } from "./logic";
import type { ModelsSearch } from "./search";

export type Summary = Schemas["ModelSummary"];

const idOf = (m: ModelView) => m.model_uid;
const watch = { type: "model", idOfGone: (d: Record<string, string>) => d.model_uid ?? "" };

const listOf = (s: ModelsSearch) => `/api/v2/models${queryOf(s)}`;
const summaryOf = (s: ModelsSearch) => `/api/v2/summary/models${queryOf(s, ["sort"])}`;

export function useModels(s: ModelsSearch) {
  return usePages<ModelView>(listOf(s), idOf, watch);
}

/** Asks for a list before a page is drawn that shows it: the server answers meanwhile. */
export function listAhead(s: ModelsSearch): Promise<void> {
  return queries.prefetchInfiniteQuery(pagesQuery<ModelView>(listOf(s), true));
}

/** Asks for what the page shows first, before the page itself is there. */
export function ahead(s: ModelsSearch): Promise<unknown> {
  return Promise.all([
    listAhead(s),
    queries.prefetchQuery({ queryKey: ["summary", summaryOf(s)], queryFn: () => send<Summary>("GET", summaryOf(s)), staleTime: 1000 }),
  ]);
}

/** How many models there are of each kind; counted again, at most once a second, when something has changed. `every`, in milliseconds, is for what the
 * list that is followed does not tell of. */
export function useSummary(s: ModelsSearch, changes: number, every?: number) {
  const path = summaryOf(s);
  const query = useQuery<Summary, ApiError>({
    queryKey: ["summary", path],
    queryFn: () => send<Summary>("GET", path),
    placeholderData: keepPreviousData,
    staleTime: 1000,
    refetchInterval: every,
  });
  const last = useRef(0);
  const counted = useRef(changes);
  const { refetch } = query;
  useEffect(() => {
    if (changes === counted.current) return;
    const timer = setTimeout(
      () => {
        counted.current = changes;
        last.current = Date.now();
        refetch();
      },
      Math.max(50, last.current + 1000 - Date.now()),
    );
    return () => clearTimeout(timer);
  }, [changes, refetch]);
  return query;
}
