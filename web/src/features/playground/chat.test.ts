import { describe, expect, test } from "vitest";
import { ApiError } from "../../api/client";
import { exampleOf, figuresOf, messagesOf, noSettings, pieceOf, requestOf, unescaped } from "./chat";
import { search } from "./search";
import { cosine } from "./vectors";

describe("the request", () => {
  test("has only what is set", () => {
    expect(requestOf("m", noSettings, [])).toEqual({ model: "m", messages: [], stream: true, stream_options: { include_usage: true } });
    const body = requestOf("m", { ...noSettings, temperature: 0, max_tokens: 5, stop: ["\\n", ""] }, []);
    expect(body).toMatchObject({ temperature: 0, max_tokens: 5, stop: ["\n"] });
    expect(body).not.toHaveProperty("seed");
  });
  test("leaves out a prompt that was never answered", () => {
    const before = [
      { prompt: "a", answer: "A" },
      { prompt: "b", answer: "" },
    ];
    expect(messagesOf(" ", before, "c").map((m) => m.content)).toEqual(["a", "A", "c"]);
    expect(messagesOf("be kind", [], "c")[0]).toEqual({ role: "system", content: "be kind" });
  });
  test("shown as code is the one that was sent last, or would be next", () => {
    const turns = [
      { prompt: "a", answer: "A" },
      { prompt: "b", answer: "B" },
    ];
    expect(exampleOf("", turns, " ", "x").map((m) => m.content)).toEqual(["a", "A", "b"]);
    expect(exampleOf("", turns, "c", "x").map((m) => m.content)).toEqual(["a", "A", "b", "B", "c"]);
    expect(exampleOf("", [], "", "x").map((m) => m.content)).toEqual(["x"]);
  });
  test("a backslash stands for itself when it is doubled", () => {
    expect(unescaped("\\n\\\\n\\t\\x")).toBe("\n\\n\t\\x");
  });
});

describe("the answer", () => {
  test("is read whatever is missing", () => {
    expect(pieceOf('{"choices":[{"delta":{"content":"hi"}}]}').text).toBe("hi");
    expect(pieceOf('{"choices":[{"delta":{"content":null,"reasoning_content":"hm"}}]}')).toMatchObject({ text: "", thought: "hm" });
    expect(pieceOf('{"choices":[],"usage":{"completion_tokens":3,"prompt_tokens":"no"}}').usage).toEqual({
      completion: 3,
      prompt: undefined,
    });
    expect(pieceOf('{"choices":[],"usage":null}').usage).toBeUndefined();
    expect(pieceOf("[DONE]").end).toBe(true);
    for (const odd of ["null", "7", "[]", '{"choices":[null]}', '{"choices":"x"}']) expect(pieceOf(odd).text).toBe("");
  });
  test("that reports an error is one, in its words", () => {
    const read = () => pieceOf('{"error":{"message":"the engine was gone","type":"server_error","param":null,"code":"engine_lost"}}');
    expect(read).toThrow(ApiError);
    expect(read).toThrow("the engine was gone");
    expect(() => pieceOf("{")).toThrow(ApiError);
  });
});

describe("the figures", () => {
  test("are known only when they were measured", () => {
    expect(figuresOf({ sent: 0 }, 5)).toEqual({});
    expect(figuresOf({ sent: 100, first: 300, last: 1300 }, 11)).toEqual({ ttft: 200, perSecond: 10 });
    expect(figuresOf({ sent: 100, first: 300, last: 1300 }, undefined).perSecond).toBeUndefined();
    expect(figuresOf({ sent: 100, first: 300, last: 301 }, 11).perSecond).toBeUndefined();
  });
  test("the cosine of vectors without a direction is not known", () => {
    expect(cosine([1, 0], [2, 0])).toBe(1);
    expect(cosine([1, 0], [0, 5])).toBe(0);
    expect(cosine([1], [1, 2])).toBeUndefined();
    expect(cosine([0, 0], [1, 2])).toBeUndefined();
    expect(cosine([], [])).toBeUndefined();
  });
});

test("the address holds names, whatever they look like", () => {
  expect(search({ model: 7, with: "", tab: "x" })).toEqual({ model: "7", with: undefined, tab: undefined });
  expect(search({ model: {}, tab: "embeddings" })).toEqual({ model: undefined, with: undefined, tab: "embeddings" });
});
