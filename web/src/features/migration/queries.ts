import { useQuery } from "@tanstack/react-query";
import { type ApiError, api, must, type Schemas } from "../../api/client";
import { usePages } from "../../api/pages";
import { queries } from "../../api/queries";

export type Migration = Schemas["Migration"];
export type Use = Schemas["V1Use"];

const key = ["migration", "plan"];

/** What a migration would do now; nothing is changed. */
export function usePlan() {
  return useQuery<Migration, ApiError>({
    queryKey: key,
    queryFn: () => must(api.POST("/api/v2/migrate", { params: { query: { dry_run: true } } })),
    staleTime: 0,
  });
}

export async function migrate(): Promise<Migration> {
  const report = await must(api.POST("/api/v2/migrate", { params: { query: {} } }));
  queries.invalidateQueries({ queryKey: key });
  return report;
}

export const useOldCalls = () => usePages<Use>("/api/v2/v1-usage", (u) => u.id);
