import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { emptySpec } from "../../domain/modelForm";
import { bodyOf, commandOf, documentOf, gpusOf, noWish, shellWord } from "./logic";
import { search } from "./search";

const hostile = [
  "it's",
  "$(reboot)",
  "`id`",
  "a b;c",
  "-x",
  "new\nline",
  "tab\there",
  "\\'\n'",
  '"; rm -rf / #',
  "模型 🚀",
  "\u202Eevil",
  "!!",
  "*",
];

test.each(hostile)("a shell reads %j as one word and nothing else", (text) => {
  const out = execFileSync("bash", ["--norc", "-c", `printf %s ${shellWord(text)}`], { env: { LC_ALL: "C.UTF-8" } }).toString();
  expect(out).toBe(text);
});

test.each(hostile)("the command keeps %j as its name", (text) => {
  const { command } = commandOf({ spec: { ...emptySpec, model_name: text, labels: "k=v" }, wish: noWish });
  const out = execFileSync("bash", ["--norc", "-c", `nebula() { printf '%s\\0' "$@"; }; ${command}`], {
    env: { LC_ALL: "C.UTF-8" },
  }).toString();
  expect(out.split("\0")).toContain(`--name=${text.trim()}`);
});

test("command, document and body say the same", () => {
  const n = {
    spec: { ...emptySpec, model_name: "a/b", max_model_len: "4096", files: "*.gguf", labels: "team=x" },
    wish: { ...noWish, model_uid: "m", replicas: "2", node_id: "n1", gpu_indices: "0, 1" },
  };
  expect(commandOf(n).command).toBe(
    "nebula model create --name=a/b --source=huggingface --uid=m '--file=x' --label=team=x --max-model-len=4096 --node=n1 --gpu=0 --gpu=1 --replicas=2 --start".replace(
      "'--file=x'",
      "--file='*.gguf'",
    ),
  );
  expect(bodyOf(n)).toMatchObject({
    model_name: "a/b",
    model_uid: "m",
    replicas: 2,
    auto_start: true,
    gpu_indices: [0, 1],
    config: { max_model_len: 4096 },
  });
  expect(documentOf(n)).toMatchObject({ kind: "Model", model_uid: "m", desired_state: "running", replicas: 2, node_id: "n1" });
  expect(documentOf({ ...n, wish: { ...n.wish, auto_start: false } })).toMatchObject({ desired_state: "stopped" });
});

test("GPUs are numbers", () => {
  expect(gpusOf("0, 1 2")).toEqual([0, 1, 2]);
  expect(gpusOf("")).toEqual([]);
  expect(gpusOf("0,x")).toBeNull();
});

test("the address is read with distrust", () => {
  expect(search({ template: "t", from: "hub", name: "a/b" })).toEqual({ template: "t", from: "hub", name: "a/b" });
  expect(search({ template: 3, from: "x", name: {} })).toEqual({});
});
