import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { type ApiError, api, must, type Schemas } from "../../api/client";
import { usePages } from "../../api/pages";
import { pollEvery } from "../../api/stream";
import type { AuditRecord } from "./logic";

const idOf = (r: AuditRecord) => String(r.seq);

/** The records, asked for again when the newest is another one: that costs the server a hundredth of reading them. */
export function useAudit(path: string) {
  const log = usePages<AuditRecord>(path, idOf, undefined, false);
  const newest = useHead().data?.seq;
  const known = useRef(newest);
  const refresh = useRef(log.refresh);
  refresh.current = log.refresh;
  useEffect(() => {
    if (known.current !== undefined && newest !== known.current) refresh.current();
    known.current = newest;
  }, [newest]);
  return log;
}

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
