// A watch of models tells each change by itself: the reader keeps what was told, by uid.

import type { Schemas } from "./client";
import { type Live, type Reader, useSource } from "./live";

export type ModelView = Schemas["ModelView"];
export type ModelDetail = Schemas["ModelDetail"];

const detail: Reader<ModelDetail | null> = {
  take: (e, before) => (e.type === "deleted" ? null : e.type === "model" ? (JSON.parse(e.data) as ModelDetail) : before),
  whole: () => true,
  resumes: false,
  plain: "model",
};

/** Follows one model; `data` is null once it has been deleted. */
export function useModel(uid: string): Live<ModelDetail | null> {
  return useSource(`/api/v2/models/${encodeURIComponent(uid)}`, detail);
}
