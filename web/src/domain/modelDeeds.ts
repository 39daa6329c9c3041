// What people do with a model, as requests.
import { api, must, type Schemas } from "../api/client";

const at = (uid: string) => ({ path: { uid } });

export const startModel = (uid: string) => must(api.POST("/api/v2/models/{uid}/start", { params: at(uid) }));
export const stopModel = (uid: string) => must(api.POST("/api/v2/models/{uid}/stop", { params: at(uid) }));
export const scaleModel = (uid: string, replicas: number) =>
  must(api.PUT("/api/v2/models/{uid}/scale", { params: at(uid), body: { replicas } }));

/** Removes a model, with its files if `purge`; `dryRun` only tells what that would do. */
export function deleteModel(uid: string, purge: boolean, dryRun = false): Promise<Schemas["ModelDeleted"]> {
  return must(
    api.DELETE("/api/v2/models/{uid}", {
      params: { path: { uid }, query: { purge: purge || undefined, dry_run: dryRun || undefined } },
    }),
  );
}
