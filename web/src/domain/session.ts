// Who uses the console, and what they may do. Whether something is allowed is the server's decision; the console only leaves out what would be refused.
import { queryOptions, useQuery } from "@tanstack/react-query";
import { type ApiError, api, must, type Schemas } from "../api/client";

export type Whoami = Schemas["Whoami"];
export type Role = Whoami["role"];

const order: Role[] = ["inference", "viewer", "operator", "admin"];

export const whoamiKey = ["whoami"];

/** Who is logged in; an error with status 401 says that nobody is. */
export const whoamiQuery = queryOptions<Whoami, ApiError>({
  queryKey: whoamiKey,
  queryFn: () => must(api.GET("/api/v2/whoami")),
  staleTime: Number.POSITIVE_INFINITY,
  retry: false,
});

export function useWhoami() {
  return useQuery(whoamiQuery);
}

export function atLeast(role: Role | undefined, wanted: Role): boolean {
  return role !== undefined && order.indexOf(role) >= order.indexOf(wanted);
}

/** Whether the one who is logged in has at least this role. */
export function useMay(wanted: Role): boolean {
  return atLeast(useWhoami().data?.role, wanted);
}
