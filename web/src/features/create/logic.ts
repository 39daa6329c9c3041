import { configOf, labelsOf, linesOf, type SpecForm, specOf } from "../../domain/modelForm";

export type Wish = { model_uid: string; auto_start: boolean; replicas: string; node_id: string; gpu_indices: string };
export type NewModel = { spec: SpecForm; wish: Wish };

export const noWish: Wish = { model_uid: "", auto_start: true, replicas: "1", node_id: "", gpu_indices: "" };

/** Numbers with commas or spaces between them; null when something else is there. */
export function gpusOf(text: string): number[] | null {
  const parts = text.split(/[\s,]+/).filter(Boolean);
  return parts.every((p) => /^\d{1,6}$/.test(p)) ? parts.map(Number) : null;
}

/** What is sent to make the model. */
export function bodyOf({ spec, wish }: NewModel) {
  const gpus = gpusOf(wish.gpu_indices) ?? [];
  return {
    ...specOf(spec),
    model_name: spec.model_name.trim(),
    ...(wish.model_uid.trim() && { model_uid: wish.model_uid.trim() }),
    auto_start: wish.auto_start,
    ...(wish.auto_start && { replicas: Number(wish.replicas) }),
    ...(wish.node_id.trim() && { node_id: wish.node_id.trim() }),
    ...(gpus.length > 0 && { gpu_indices: gpus }),
  };
}

/** The document of `nebula apply` that says the same. */
export function documentOf(n: NewModel): Record<string, unknown> {
  const { auto_start, replicas, ...rest } = bodyOf(n) as Record<string, unknown>;
  const { model_uid, ...others } = rest;
  return {
    kind: "Model",
    ...(model_uid !== undefined && { model_uid }),
    ...others,
    desired_state: auto_start ? "running" : "stopped",
    ...(replicas !== undefined && { replicas }),
  };
}

/** A word for a POSIX shell that nothing in it can end; control characters are written as they are named. */
export function shellWord(text: string): string {
  if (/^[A-Za-z0-9_./:@%+,=-]+$/.test(text)) return text;
  if (/\p{Cc}/u.test(text)) {
    const inside = text.replace(/['\\]/g, "\\$&").replace(/\p{Cc}/gu, (c) => `\\x${c.codePointAt(0)!.toString(16).padStart(2, "0")}`);
    return `$'${inside}'`;
  }
  return `'${text.replaceAll("'", "'\\''")}'`;
}

const sources = { hugging_face: "huggingface", model_scope: "modelscope", local: "local" } as const;

/** The command that makes the same model, and what it has no flag for. */
export function commandOf({ spec, wish }: NewModel): { command: string; left: string[] } {
  const c = configOf(spec);
  const words: string[] = ["nebula", "model", "create"];
  // With "=" a value that begins with a dash is never taken for a flag.
  const flag = (name: string, value: string | number | undefined) => {
    if (value !== undefined && value !== "") words.push(`--${name}=${shellWord(String(value))}`);
  };
  flag("name", spec.model_name.trim());
  flag("source", sources[spec.model_source]);
  flag("path", spec.model_path.trim());
  flag("uid", wish.model_uid.trim());
  flag("engine", spec.engine_type.trim());
  flag("revision", spec.revision.trim());
  // These two flags take lists in CSV: a value with a comma or a quote in it is quoted once more.
  for (const f of linesOf(spec.files)) flag("file", csv(f));
  for (const [k, v] of Object.entries(labelsOf(spec.labels))) flag("label", `${k}=${v}`);
  flag("token-secret", spec.token_secret.trim());
  flag("max-model-len", c.max_model_len);
  flag("tensor-parallel", c.tensor_parallel_size);
  flag("gpu-memory-utilization", c.gpu_memory_utilization);
  flag("required-vram-mb", c.required_vram_mb);
  flag("node", wish.node_id.trim());
  for (const g of gpusOf(wish.gpu_indices) ?? []) flag("gpu", g);
  if (wish.auto_start) {
    flag("replicas", wish.replicas.trim());
    words.push("--start");
  }
  return { command: words.join(" "), left: c.lora_modules ? ["lora_modules"] : [] };
}

function csv(value: string): string {
  return /[",]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}
