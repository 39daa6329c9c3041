// Where models come from. The names of hubs are the same in every language.
import type { Schemas } from "../api/client";

export type ModelSource = Schemas["ModelSpec"]["model_source"];
export const sourceName: Partial<Record<ModelSource, string>> = { hugging_face: "Hugging Face", model_scope: "ModelScope" };
