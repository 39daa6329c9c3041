import { useQuery } from "@tanstack/react-query";
import { type ApiError, api, must, type Schemas } from "../../api/client";
import { useLive } from "../../api/live";

export type Template = Schemas["ModelTemplate"];
export type Create = Schemas["CreateTemplate"];
export type Update = Schemas["UpdateTemplate"];
export type Deploy = Schemas["DeployTemplate"];

export const useTemplates = () => useLive<Template[]>("/api/v2/templates");

/** A template as it is now, with the mark that a change must name. */
export type Marked = { template: Template; etag: string };

export async function load(id: string): Promise<Marked> {
  const { data, response } = await api.GET("/api/v2/templates/{id}", { params: { path: { id } } });
  return { template: data as Template, etag: response.headers.get("ETag") ?? "" };
}

export function useTemplate(id: string | undefined) {
  return useQuery<Marked, ApiError>({
    queryKey: ["template", id],
    queryFn: () => load(id!),
    enabled: id !== undefined,
    gcTime: 0,
    staleTime: Number.POSITIVE_INFINITY, // what a form was filled from must not change under it
  });
}

export const create = (body: Create) => must(api.POST("/api/v2/templates", { body }));

/** Changes a template if it still is what was seen; else the server answers 412. */
export function update(id: string, etag: string, body: Update) {
  return must(api.PUT("/api/v2/templates/{id}", { params: { path: { id }, header: { "If-Match": etag } }, body }));
}

export const remove = (id: string) => must(api.DELETE("/api/v2/templates/{id}", { params: { path: { id } } }));

/** Declares a model as the template says and starts it; a dry run only tells what would come of it. `key` makes it happen once. */
export function deploy(id: string, body: Deploy, dry: boolean, key: string) {
  return must(
    api.POST("/api/v2/templates/{id}/deploy", {
      params: { path: { id }, query: dry ? { dry_run: true } : {}, header: dry ? {} : { "Idempotency-Key": key } },
      body,
    }),
  );
}
