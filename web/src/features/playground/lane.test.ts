import { expect, test, vi } from "vitest";
import { failure, stream, TestServer } from "../../test/server";
import { noSettings } from "./chat";
import { Lane } from "./lane";

const at = "POST /v1/chat/completions";
const delta = (content: string) => ({ choices: [{ delta: { content } }] });

function talk() {
  const failed = vi.fn();
  return { lane: new Lane(failed), failed };
}

test("an answer that breaks off keeps what had come, and says so", async () => {
  const s = stream();
  new TestServer().raw(at, () => s.response);
  const { lane, failed } = talk();
  const over = lane.send("m", noSettings, "hi");
  s.send("message", delta("Hel"));
  s.close();
  await over;
  expect(lane.get()[0]).toMatchObject({ answer: "Hel", state: "failed", error: { code: "broken_off" } });
  expect(failed).toHaveBeenCalledOnce();
});

test("an error in the stream is shown in its own words after what had come", async () => {
  const s = stream();
  new TestServer().raw(at, () => s.response);
  const { lane } = talk();
  const over = lane.send("m", noSettings, "hi");
  s.send("message", delta("Hel"));
  s.send("error", { error: { message: "the engine is gone", type: "server_error", param: null, code: "engine_lost" } });
  await over;
  expect(lane.get()[0]).toMatchObject({ answer: "Hel", state: "failed", error: { message: "the engine is gone" } });
});

test("stop ends at once, and nothing that comes later is added", async () => {
  const s = stream();
  new TestServer().raw(at, () => s.response);
  const { lane, failed } = talk();
  const over = lane.send("m", noSettings, "hi");
  s.send("message", delta("one"));
  await vi.waitFor(() => expect(lane.get()[0]?.answer).toBe("one"));
  lane.stop();
  expect(lane.busy).toBe(false);
  s.send("message", delta("two"));
  s.close();
  await over;
  expect(lane.get()[0]).toMatchObject({ answer: "one", state: "stopped" });
  expect(failed).not.toHaveBeenCalled();
});

test("once more asks with the same prompt and without the former answer", async () => {
  const server = new TestServer().raw(at, () => {
    const s = stream();
    s.send("message", delta("yes"));
    s.send("message", { choices: [], usage: { completion_tokens: 1, prompt_tokens: 2 } });
    queueMicrotask(() => s.close());
    return s.response;
  });
  const { lane } = talk();
  await lane.send("m", noSettings, "hi");
  await lane.again("other", noSettings);
  expect(server.seen[1]!.body).toMatchObject({ model: "other", messages: [{ role: "user", content: "hi" }] });
  expect(lane.get()).toHaveLength(1);
  expect(lane.takeBack()).toBe("hi");
  expect(lane.get()).toHaveLength(0);
});

test("a refusal is told as the server told it", async () => {
  new TestServer().raw(at, () => failure(503, "model_stopped", "the model m is stopped; start it first"));
  const { lane, failed } = talk();
  await lane.send("m", noSettings, "hi");
  expect(lane.get()[0]).toMatchObject({ state: "failed", error: { status: 503, message: "the model m is stopped; start it first" } });
  expect(failed).toHaveBeenCalledOnce();
});
