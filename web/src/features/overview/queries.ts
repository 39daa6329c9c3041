import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { followChanges } from "../../api/changes";
import { type ApiError, send } from "../../api/client";
import type { ModelView } from "../../api/models";
import { fetchPage } from "../../api/pages";
import { type ModelState, moving } from "../../domain/status";

export type Counts = { total: number; states: Record<ModelState, number> };
export type Board = { counts: Counts; troubled: ModelView[]; moving: ModelView[]; revision: string };

/** How many models of a state are asked for: what more there are is counted, and the list of models shows them. */
export const most = 20;

const key = ["overview"];

/** What the models do: how many in which state, and those that somebody should see. Asked for anew whenever any of them changes. */
export function useBoard() {
  const queries = useQueryClient();
  const board = useQuery<Board, ApiError>({ queryKey: key, queryFn: ({ signal }) => load(signal), staleTime: 0 });
  const since = board.data?.revision;
  const followed = since !== undefined;
  // biome-ignore lint/correctness/useExhaustiveDependencies: the watch begins at the first revision and goes on by itself
  useEffect(() => {
    if (!followed) return;
    return followChanges<ModelView>(
      "/api/v2/models",
      since,
      { type: "model", idOf: (m) => m.model_uid, idOfGone: (d) => d.model_uid ?? "" },
      { mode: () => {}, changed: () => true, again: () => queries.invalidateQueries({ queryKey: key }) },
    );
  }, [followed]);
  return board;
}

async function load(signal: AbortSignal): Promise<Board> {
  // The revision comes first: a change that happens while the rest is read is told once more by the watch.
  const { revision } = await fetchPage<ModelView>("/api/v2/models", "", signal, 1);
  const of = async (state: ModelState) => (await fetchPage<ModelView>(`/api/v2/models?state=${state}`, "", signal, most)).rows;
  const lists = Promise.all((["failed", "degraded", ...moving] as ModelState[]).map(of));
  const [counts, [failed, degraded, ...going]] = await Promise.all([send<Counts>("GET", "/api/v2/summary/models"), lists]);
  return {
    counts,
    troubled: [...failed!, ...degraded!],
    moving: going.flat(),
    revision,
  };
}
