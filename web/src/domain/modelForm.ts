// What a form about a model holds, and the documents that it makes. Everything is text while somebody types.
import type { Schemas } from "../api/client";
import type { ModelSource } from "./sources";

export type SpecForm = {
  model_name: string;
  model_source: ModelSource;
  model_path: string;
  engine_type: string;
  revision: string;
  files: string;
  token_secret: string;
  max_model_len: string;
  tensor_parallel_size: string;
  gpu_memory_utilization: string;
  required_vram_mb: string;
  lora_modules: string;
  labels: string;
};
export type SpecField = keyof SpecForm;

export const emptySpec: SpecForm = {
  model_name: "",
  model_source: "hugging_face",
  model_path: "",
  engine_type: "",
  revision: "",
  files: "",
  token_secret: "",
  max_model_len: "",
  tensor_parallel_size: "",
  gpu_memory_utilization: "",
  required_vram_mb: "",
  lora_modules: "",
  labels: "",
};

const numbers = ["max_model_len", "tensor_parallel_size", "gpu_memory_utilization", "required_vram_mb"] as const;
export const fields = Object.keys(emptySpec) as SpecField[];

type Described = Partial<
  Pick<Schemas["ModelSpec"], "model_name" | "model_source" | "model_path" | "engine_type" | "revision" | "files" | "token_secret">
> & {
  config?: Partial<Schemas["ModelConfig"]> | null;
  labels?: Record<string, string> | null | object;
};

/** The form of a spec, or of a template. */
export function formOf(s: Described): SpecForm {
  const n = (x: number | null | undefined) => (x === null || x === undefined ? "" : String(x));
  return {
    model_name: s.model_name ?? "",
    model_source: s.model_source ?? "hugging_face",
    model_path: s.model_path ?? "",
    engine_type: s.engine_type ?? "",
    revision: s.revision ?? "",
    files: (s.files ?? []).join("\n"),
    token_secret: s.token_secret ?? "",
    max_model_len: n(s.config?.max_model_len),
    tensor_parallel_size: n(s.config?.tensor_parallel_size),
    gpu_memory_utilization: n(s.config?.gpu_memory_utilization),
    required_vram_mb: n(s.config?.required_vram_mb),
    lora_modules: (s.config?.lora_modules ?? []).join("\n"),
    labels: Object.entries(s.labels ?? {})
      .map(([k, v]) => `${k}=${v}`)
      .sort()
      .join("\n"),
  };
}

export const linesOf = (text: string) =>
  text
    .split("\n")
    .map((l) => l.trim())
    .filter(Boolean);

export function labelsOf(text: string): Record<string, string> {
  return Object.fromEntries(
    linesOf(text).map((l) => {
      const i = l.indexOf("=");
      return i < 0 ? [l, ""] : [l.slice(0, i).trim(), l.slice(i + 1).trim()];
    }),
  );
}

/** What cannot be sent at all; everything else is the server's to judge. */
export function faultsOf(f: SpecForm): Partial<Record<SpecField, "number" | "label">> {
  const out: Partial<Record<SpecField, "number" | "label">> = {};
  for (const k of numbers) {
    const v = f[k].trim();
    if (v && !(k === "gpu_memory_utilization" ? /^\d*\.?\d+$/ : /^\d{1,15}$/).test(v)) out[k] = "number";
  }
  if (linesOf(f.labels).some((l) => l.indexOf("=") < 1)) out.labels = "label";
  return out;
}

type Config = Partial<Record<(typeof numbers)[number], number>> & { lora_modules?: string[] };

export function configOf(f: SpecForm): Config {
  const out: Config = {};
  for (const k of numbers) if (f[k].trim()) out[k] = Number(f[k]);
  const lora = linesOf(f.lora_modules);
  if (lora.length) out.lora_modules = lora;
  return out;
}

/** The document of a form, without what is not set. */
export function specOf(f: SpecForm) {
  const out: Record<string, unknown> = {};
  for (const k of ["model_name", "model_source", "model_path", "engine_type", "revision", "token_secret"] as const) {
    const v = f[k].trim();
    if (v) out[k] = v;
  }
  if (linesOf(f.files).length) out.files = linesOf(f.files);
  if (Object.keys(configOf(f)).length) out.config = configOf(f);
  if (linesOf(f.labels).length) out.labels = labelsOf(f.labels);
  return out;
}

/** The merge patch that makes one document of another: what is gone becomes null. */
export function patchOf(before: unknown, after: unknown): Record<string, unknown> {
  const a = before as Record<string, unknown>;
  const b = after as Record<string, unknown>;
  const out: Record<string, unknown> = {};
  for (const k of Object.keys(a)) if (!(k in b)) out[k] = null;
  for (const [k, v] of Object.entries(b)) {
    const was = a[k];
    if (JSON.stringify(was) === JSON.stringify(v)) continue;
    const part = isObject(was) && isObject(v) ? patchOf(was, v) : v;
    if (part === v || Object.keys(part as object).length > 0) out[k] = part; // the order of keys alone is no change
  }
  return out;
}

const isObject = (v: unknown) => typeof v === "object" && v !== null && !Array.isArray(v);

/** The field of the form that a fault of the server's is about; null: none of them. */
export function fieldOf(name: string): SpecField | null {
  const last = name.replace(/^(spec|config)\./, "").replace(/[.[].*$/, "");
  return fields.find((f) => f === last) ?? null;
}
