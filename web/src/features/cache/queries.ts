import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { type ApiError, api, must, type Schemas } from "../../api/client";
import { pollEvery } from "../../api/stream";
import { type Pull, usePulls } from "../../domain/files";

export type Summary = Schemas["CacheSummary"];

const key = ["cache", "summary"];

/** What all caches hold. It cannot be watched as a whole: it is looked at every eight seconds, and at once when a pull changes its state. */
export function useCaches(pulls: Pull[] | undefined) {
  const queries = useQueryClient();
  const states = pulls?.map((p) => `${p.node_id} ${p.pull_id} ${p.state}`).join("\n");
  // biome-ignore lint/correctness/useExhaustiveDependencies: a change of states is what it is for
  useEffect(() => {
    queries.invalidateQueries({ queryKey: key });
  }, [states, queries]);
  return useQuery<Summary, ApiError>({ queryKey: key, queryFn: () => must(api.GET("/api/v2/cache/summary")), refetchInterval: pollEvery });
}

export { usePulls };

/** Looks again now, after something was done to the caches. */
export function useLookAgain(): () => void {
  const queries = useQueryClient();
  return () => queries.invalidateQueries({ queryKey: key });
}
