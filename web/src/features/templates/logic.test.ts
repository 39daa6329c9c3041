import { expect, test } from "vitest";
import { createOf, differences, formOf, grouped, problems, updateOf } from "./logic";
import type { Template } from "./queries";
import { search } from "./search";

const template = (id: string, more: Partial<Template> = {}): Template => ({
  template_id: id,
  id,
  name: id,
  model_name: `acme/${id}`,
  default_replicas: 1,
  labels: {},
  source: "user",
  config: { tensor_parallel_size: null, gpu_memory_utilization: null, max_model_len: 4096, required_vram_mb: null, lora_modules: ["a=b"] },
  created_at_ms: 1,
  updated_at_ms: 1,
  ...more,
});

test("templates come by category, those without one last, each group by name", () => {
  const all = [
    template("z"),
    template("b", { category: "embedding" }),
    template("c", { category: "llm" }),
    template("a", { category: "llm" }),
  ];
  expect(grouped(all, {}).map(([c, l]) => [c, l.map((t) => t.template_id)])).toEqual([
    ["llm", ["a", "c"]],
    ["embedding", ["b"]],
    [null, ["z"]],
  ]);
  expect(grouped(all, { q: "ACME/b" }).map(([c]) => c)).toEqual(["embedding"]);
  expect(grouped(all, { source: "system" })).toEqual([]);
});

test("the address holds only what the page understands, and one dialog at most", () => {
  expect(search({ q: 5, category: "llm", source: "odd", deploy: "a", edit: "b" })).toEqual({ q: "5", category: "llm", deploy: "a" });
  expect(search({ make: "yes", edit: "" })).toEqual({});
});

test("a form that is not touched changes nothing", () => {
  const t = template("a", { labels: { k: "v=w" }, files: ["*.gguf"], description: "d" });
  expect(updateOf(formOf(t), t)).toEqual({});
});

test("only what was changed is sent, and the part of the configuration that the form does not show is kept", () => {
  const t = template("a");
  expect(updateOf({ ...formOf(t), name: "new", max_model_len: "8192" }, t)).toEqual({
    name: "new",
    config: {
      tensor_parallel_size: null,
      gpu_memory_utilization: null,
      max_model_len: 8192,
      required_vram_mb: null,
      lora_modules: ["a=b"],
    },
  });
  expect(updateOf({ ...formOf(t), labels: "a = 1\n\nb=x=y" }, t)).toEqual({ labels: { a: "1", b: "x=y" } });
});

test("a new template leaves out what nobody typed", () => {
  const made = createOf({ ...formOf(null), name: " n ", model_name: "m", default_replicas: "0" });
  expect(made).toMatchObject({ name: "n", model_name: "m", default_replicas: 0, model_source: "hugging_face" });
  expect(made).not.toHaveProperty("category");
  expect(made).not.toHaveProperty("files");
  expect(made.template_id).toBeUndefined();
});

test("what the API could not be told at all is said beside the field", () => {
  expect(problems({ ...formOf(null), labels: "a=1\n=2", max_model_len: "many" })).toEqual({
    name: "needed",
    model_name: "needed",
    labels: "label",
    max_model_len: "number",
  });
  expect(problems(formOf(template("a")))).toEqual({});
});

test("differences are told by field", () => {
  expect(differences(template("a"), template("a", { name: "b", labels: { k: "v" } }))).toEqual([
    { field: "name", was: "a", is: "b" },
    { field: "labels", was: "", is: "k=v" },
  ]);
});
