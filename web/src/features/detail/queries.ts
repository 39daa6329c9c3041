import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { type ApiError, api, must, type Schemas } from "../../api/client";
import { usePages } from "../../api/pages";
import { type Look, type Point, pointOf } from "./logic";

export type Explanation = Schemas["Explanation"];
export type ModelEvent = Schemas["ModelEvent"];

/** Why the model stands as it does; asked again whenever what is seen of it has changed. */
export function useExplanation(uid: string, seen: string) {
  return useQuery<Explanation, ApiError>({
    queryKey: ["explain", uid, seen],
    queryFn: () => must(api.GET("/api/v2/models/{uid}/explain", { params: { path: { uid } } })),
    placeholderData: (before) => before,
    refetchInterval: 8000,
    staleTime: 0,
  });
}

const idOf = (e: ModelEvent) => e.id;
const watch = { type: "event", idOfGone: () => "" };

export function useEvents(uid: string) {
  return usePages<ModelEvent>(`/api/v2/models/${encodeURIComponent(uid)}/events`, idOf, watch);
}

const lookEvery = 2000;
const kept = 150; // five minutes

/** What the engines of a model say, looked at every two seconds while the page can be seen, and what that makes over the last minutes. */
export function useFigures(uid: string) {
  const query = useQuery<Schemas["EngineFigures"], ApiError>({
    queryKey: ["figures"],
    queryFn: () => must(api.GET("/api/v2/endpoints/figures")),
    refetchInterval: lookEvery,
    staleTime: 0,
    gcTime: 0,
  });
  const last = useRef<Look | undefined>(undefined);
  const [points, setPoints] = useState<Point[]>([]);
  const [now, setNow] = useState<Look>();
  useEffect(() => {
    if (!query.data) return;
    const look = { at: query.data.at_ms, replicas: (query.data.replicas ?? []).filter((r) => r.model_uid === uid) };
    const before = last.current;
    if (before && look.at <= before.at) return;
    last.current = look;
    setNow(look);
    // After a while in which nobody looked, a rate would be a mean over that while.
    const near = before && look.at - before.at < 4 * lookEvery ? before : undefined;
    setPoints((p) => [...p, pointOf(near, look)].slice(-kept));
  }, [query.data, uid]);
  return { now, points, error: query.error, refetch: query.refetch };
}

export function drainReplica(uid: string, id: number) {
  return must(api.POST("/api/v2/models/{uid}/replicas/{id}/drain", { params: { path: { uid, id: String(id) } } }));
}

export function saveAsTemplate(uid: string, body: Schemas["SaveTemplate"]) {
  return must(api.POST("/api/v2/models/{uid}/save-as-template", { params: { path: { uid } }, body }));
}

/** What the nodes' caches hold of a model. */
export function useCacheOf(uid: string) {
  return useQuery<Schemas["CacheSummary"], ApiError, Schemas["CacheEntryView"][]>({
    queryKey: ["cache", "summary"],
    queryFn: () => must(api.GET("/api/v2/cache/summary")),
    select: (s) => (s.caches ?? []).filter((c) => c.matched_model_uids?.includes(uid)),
    refetchInterval: 8000,
  });
}
