import { useQuery } from "@tanstack/react-query";
import { type ApiError, api, must, type Schemas } from "../../api/client";
import { usePages } from "../../api/pages";
import { pollEvery } from "../../api/stream";
import type { AuditRecord } from "./logic";

export const useAudit = (path: string) => usePages<AuditRecord>(path, (r) => String(r.seq));

export function useRecord(seq: number) {
  return useQuery<AuditRecord, ApiError>({
    queryKey: ["audit", "record", seq],
    queryFn: () => must(api.GET("/api/v2/audit/{seq}", { params: { path: { seq: String(seq) } } })),
    staleTime: Number.POSITIVE_INFINITY, // a record never changes
  });
}

export function useHead() {
  return useQuery<Schemas["AuditHead"], ApiError>({
    queryKey: ["audit", "head"],
    queryFn: () => must(api.GET("/api/v2/audit/head")),
    refetchInterval: pollEvery,
  });
}
