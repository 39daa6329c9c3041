// Templates in groups, and what a form says turned into what the API takes.
import type { Create, Template, Update } from "./queries";
import { type Category, categories, type Search } from "./search";

/** Templates by category, in the order of the categories; those without one come last. */
export function grouped(templates: Template[], s: Search): [Category | null, Template[]][] {
  const q = s.q?.trim().toLowerCase() ?? "";
  const shown = templates.filter(
    (t) =>
      (!s.source || t.source === s.source) &&
      (!s.category || t.category === s.category) &&
      (!q || [t.template_id, t.name, t.model_name, t.description].some((text) => text?.toLowerCase().includes(q))),
  );
  const groups = [...categories, null].map((c) => [c, shown.filter((t) => (t.category ?? null) === c)] as [Category | null, Template[]]);
  return groups.filter(([, list]) => list.length > 0).map(([c, list]) => [c, list.sort((a, b) => a.name.localeCompare(b.name))]);
}

/** What the form holds: texts, as people type them. */
export type Form = {
  template_id: string;
  name: string;
  description: string;
  category: string;
  model_name: string;
  model_source: string;
  model_path: string;
  engine_type: string;
  revision: string;
  token_secret: string;
  licence: string;
  homepage: string;
  default_replicas: string;
  labels: string;
  files: string;
  max_model_len: string;
  tensor_parallel_size: string;
  gpu_memory_utilization: string;
  required_vram_mb: string;
};

const config = ["max_model_len", "tensor_parallel_size", "gpu_memory_utilization", "required_vram_mb"] as const;

export function formOf(t: Template | null): Form {
  const n = (v: number | null | undefined) => (v === null || v === undefined ? "" : String(v));
  return {
    template_id: t?.template_id ?? "",
    name: t?.name ?? "",
    description: t?.description ?? "",
    category: t?.category ?? "",
    model_name: t?.model_name ?? "",
    model_source: t?.model_source || "hugging_face",
    model_path: t?.model_path ?? "",
    engine_type: t?.engine_type ?? "",
    revision: t?.revision ?? "",
    token_secret: t?.token_secret ?? "",
    licence: t?.licence ?? "",
    homepage: t?.homepage ?? "",
    default_replicas: n(t?.default_replicas ?? 1),
    labels: Object.entries(t?.labels ?? {})
      .map(([k, v]) => `${k}=${v}`)
      .join("\n"),
    files: (t?.files ?? []).join("\n"),
    max_model_len: n(t?.config?.max_model_len),
    tensor_parallel_size: n(t?.config?.tensor_parallel_size),
    gpu_memory_utilization: n(t?.config?.gpu_memory_utilization),
    required_vram_mb: n(t?.config?.required_vram_mb),
  };
}

const lines = (text: string) =>
  text
    .split("\n")
    .map((l) => l.trim())
    .filter(Boolean);

/** What is wrong with a form, by field: only what the API could not be told at all. Everything else is the server's to judge. */
export function problems(f: Form): Partial<Record<keyof Form, "needed" | "number" | "label">> {
  const out: ReturnType<typeof problems> = {};
  if (!f.name.trim()) out.name = "needed";
  if (!f.model_name.trim()) out.model_name = "needed";
  for (const k of [...config, "default_replicas"] as const) if (f[k].trim() && !Number.isFinite(Number(f[k]))) out[k] = "number";
  if (lines(f.labels).some((l) => l.indexOf("=") < 1)) out.labels = "label";
  return out;
}

/** The whole of a form as the API takes it; `base` keeps what the form does not show. */
function whole(
  f: Form,
  base: Template | null,
): Required<Pick<Update, "labels" | "files" | "config" | "default_replicas">> & Record<string, unknown> {
  const values: Record<string, unknown> = { ...base?.config };
  for (const k of config) values[k] = f[k].trim() ? Number(f[k]) : null;
  const labels = Object.fromEntries(lines(f.labels).map((l) => [l.slice(0, l.indexOf("=")).trim(), l.slice(l.indexOf("=") + 1).trim()]));
  const text = (k: keyof Form) => f[k].trim();
  return {
    name: text("name"),
    description: text("description"),
    category: text("category"),
    model_name: text("model_name"),
    model_source: text("model_source"),
    model_path: f.model_source === "local" ? text("model_path") : "",
    engine_type: text("engine_type"),
    revision: text("revision"),
    token_secret: text("token_secret"),
    licence: text("licence"),
    homepage: text("homepage"),
    default_replicas: f.default_replicas.trim() ? Number(f.default_replicas) : 1,
    labels,
    files: lines(f.files),
    config: values as NonNullable<Update["config"]>,
  };
}

export function createOf(f: Form): Create {
  const all = whole(f, null);
  const told = Object.entries(all).filter(([, v]) => v !== "" && !(Array.isArray(v) && v.length === 0));
  return { ...Object.fromEntries(told), template_id: f.template_id.trim() || undefined } as Create;
}

/** Only the fields that the form has changed, so that what somebody else changed meanwhile stays. */
export function updateOf(f: Form, seen: Template): Update {
  const before = whole(formOf(seen), seen) as Record<string, unknown>;
  const after = whole(f, seen) as Record<string, unknown>;
  return Object.fromEntries(Object.entries(after).filter(([k, v]) => JSON.stringify(v) !== JSON.stringify(before[k]))) as Update;
}

/** The fields in which two states of a template differ. */
export function differences(was: Template, is: Template): { field: keyof Form; was: string; is: string }[] {
  const [a, b] = [formOf(was), formOf(is)];
  return (Object.keys(a) as (keyof Form)[]).filter((k) => a[k] !== b[k]).map((field) => ({ field, was: a[field], is: b[field] }));
}
