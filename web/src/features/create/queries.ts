import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { type ApiError, type Schemas, send } from "../../api/client";
import { useLive } from "../../api/live";

export type Template = Schemas["ModelTemplate"];
export type Created = Schemas["ModelCreated"];
export type HubSource = "hugging_face" | "model_scope";
/** A model as a hub tells of it; what it does not tell is absent. */
export type HubModel = Schemas["HubModel"];

export const useTemplates = () => useLive<Template[]>("/api/v2/templates");

export function useHub(q: string, source: HubSource) {
  return useQuery<HubModel[], ApiError>({
    queryKey: ["hub", source, q],
    queryFn: () => send<HubModel[]>("GET", `/api/v2/hub/models?q=${encodeURIComponent(q)}&source=${source}`),
    enabled: q.length > 1,
    placeholderData: keepPreviousData,
    staleTime: 60_000,
    retry: false,
  });
}

/** What the server says to a model before it is made. */
export function useDryRun(body: string, ready: boolean) {
  return useQuery<Created, ApiError>({
    queryKey: ["dry", body],
    queryFn: () => send<Created>("POST", "/api/v2/models?dry_run=1", JSON.parse(body)),
    enabled: ready,
    retry: false,
    staleTime: 5000,
    placeholderData: keepPreviousData,
  });
}

/** Makes the model; sent again under the same key, it is made once. */
export function createModel(body: string, key: string) {
  return send<Created>("POST", "/api/v2/models", JSON.parse(body), { "Idempotency-Key": key });
}

/** A name for a request that nobody else has given; it works on pages without TLS, too. */
export function freshKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}
