// A long list, page by page from the server, which sorts and filters; a watch from the first page's revision on keeps what was loaded current.
import { type InfiniteData, infiniteQueryOptions, useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { type Events, followChanges } from "./changes";
import { type ApiError, request } from "./client";
import type { Mode } from "./keep";
import { pollEvery } from "./stream";

export type Page<T> = { rows: T[]; cursor: string | null; total: number | null; revision: string };

export const pageSize = 100;

/** Fetches one page of a list; `path` has the filters and the order. */
export async function fetchPage<T>(path: string, cursor: string, signal?: AbortSignal, limit = pageSize): Promise<Page<T>> {
  const url = new URL(path, location.origin);
  url.searchParams.set("limit", String(limit));
  if (cursor) url.searchParams.set("cursor", cursor);
  const response = await request(url, { signal });
  const total = response.headers.get("Nebula-Total");
  return {
    rows: await response.json(),
    cursor: response.headers.get("Nebula-Next-Cursor"),
    total: total === null ? null : Number(total),
    revision: response.headers.get("Nebula-Revision") ?? "",
  };
}

export type Pages<T> = {
  rows: T[] | undefined;
  total: number | null;
  error: ApiError | null;
  mode: Mode;
  /** How often something has changed, loaded or not, since the list is followed. */
  changes: number;
  /** Whether what is shown is still that of another filter. */
  stale: boolean;
  more: () => void;
  refresh: () => void;
};

/** Replaces the rows of the loaded pages that have changed; tells whether something came or went, so that the pages must be asked for again. */
export function patch<T>(
  data: InfiniteData<Page<T>>,
  idOf: (row: T) => string,
  changed: Map<string, T | null>,
): [InfiniteData<Page<T>>, boolean] {
  const open = new Set(changed.keys());
  let gone = false;
  const pages = data.pages.map((page) => {
    if (!page.rows.some((r) => changed.has(idOf(r)))) return page;
    const rows: T[] = [];
    for (const row of page.rows) {
      const id = idOf(row);
      const next = changed.get(id);
      open.delete(id);
      if (next === null) gone = true;
      else rows.push(next ?? row);
    }
    return { ...page, rows };
  });
  const arrived = [...open].some((id) => changed.get(id) !== null);
  return [{ ...data, pages }, gone || arrived];
}

/** The pages of a list. A list that is followed does not grow old. */
export function pagesQuery<T>(path: string, followed: boolean) {
  return infiniteQueryOptions<Page<T>, ApiError, InfiniteData<Page<T>>, string[], string>({
    queryKey: ["pages", path],
    queryFn: ({ pageParam, signal }) => fetchPage<T>(path, pageParam, signal),
    initialPageParam: "",
    getNextPageParam: (last) => last.cursor,
    staleTime: followed ? Number.POSITIVE_INFINITY : 5000,
    gcTime: 10_000,
  });
}

/** Follows a list page by page. `path` is its key: another filter is another list, the former one is shown until it is there. A list without a watch is
 * looked at every `look` milliseconds. */
export function usePages<T>(
  path: string,
  idOf: (row: T) => string,
  watch?: Omit<Events<T>, "idOf">,
  look: number | false = pollEvery,
): Pages<T> {
  const queries = useQueryClient();
  const [mode, setMode] = useState<Mode>("connecting");
  const [changes, setChanges] = useState(0);
  const key = useMemo(() => ["pages", path], [path]);
  const query = useInfiniteQuery({
    ...pagesQuery<T>(path, watch !== undefined),
    placeholderData: (before) => before,
    refetchInterval: watch ? false : look,
  });
  const since = query.isPlaceholderData ? undefined : query.data?.pages[0]?.revision;
  const followed = since !== undefined && watch !== undefined;
  // biome-ignore lint/correctness/useExhaustiveDependencies: the watch begins at the first revision and goes on by itself
  useEffect(() => {
    if (!followed) return;
    return followChanges<T>(
      path,
      since,
      { ...watch, idOf },
      {
        mode: setMode,
        changed(batch) {
          let again = false;
          setChanges((n) => n + 1);
          queries.setQueryData<InfiniteData<Page<T>>>(key, (data) => {
            if (!data) return data;
            const [next, more] = patch(data, idOf, batch);
            again = more;
            return next;
          });
          return again;
        },
        again: () => queries.invalidateQueries({ queryKey: key }),
      },
    );
  }, [followed, key]);
  const rows = useMemo(() => query.data?.pages.flatMap((p) => p.rows), [query.data]);
  return {
    rows,
    total: query.data?.pages[0]?.total ?? null,
    error: query.error,
    changes,
    mode: query.error ? "offline" : watch ? mode : "polling",
    stale: query.isPlaceholderData,
    more: () => {
      if (query.hasNextPage && !query.isFetchingNextPage) query.fetchNextPage();
    },
    refresh: () => query.refetch(),
  };
}
