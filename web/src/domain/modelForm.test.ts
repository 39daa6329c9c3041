import { expect, test } from "vitest";
import { rebase } from "../lib/rebase";
import { emptySpec, faultsOf, fieldOf, formOf, patchOf, specOf } from "./modelForm";

const spec = {
  model_name: "a/b",
  model_source: "local" as const,
  model_path: "/m.gguf",
  config: { max_model_len: 4096, lora_modules: ["x=/y"] },
  labels: { team: "a=b", env: "" },
};

test("a document survives the form", () => {
  expect(specOf(formOf(spec))).toEqual(spec);
  expect(specOf(emptySpec)).toEqual({ model_source: "hugging_face" });
});

test("what cannot be sent is told before", () => {
  expect(faultsOf({ ...emptySpec, max_model_len: "4k", gpu_memory_utilization: ".9", required_vram_mb: "-1", labels: "=x" })).toEqual({
    max_model_len: "number",
    required_vram_mb: "number",
    labels: "label",
  });
});

test("a patch names what has changed, and null for what is gone", () => {
  const after = specOf({ ...formOf(spec), max_model_len: "", model_path: "/n.gguf", labels: "team=c\nnew=1" });
  expect(patchOf(spec, after)).toEqual({
    model_path: "/n.gguf",
    config: { max_model_len: null },
    labels: { env: null, team: "c", new: "1" },
  });
  expect(patchOf(spec, specOf(formOf(spec)))).toEqual({});
});

test("two people: each keeps what the other has not touched", () => {
  const base = formOf(spec);
  const out = rebase(base, { ...base, max_model_len: "8192" }, { ...base, revision: "v2", max_model_len: "1" });
  expect(out.max_model_len).toBe("8192");
  expect(out.revision).toBe("v2");
});

test("faults of the server find their field", () => {
  expect(fieldOf("config.max_model_len")).toBe("max_model_len");
  expect(fieldOf("labels.team")).toBe("labels");
  expect(fieldOf("files[0]")).toBe("files");
  expect(fieldOf("node_id")).toBeNull();
});
