// What is sent to a model, and what is read from its answer. Nothing here touches the page or the network.
import { ApiError } from "../../api/client";

/** What a person has set. What is undefined is not sent: the engine's own default holds. */
export type Settings = {
  system: string;
  temperature?: number;
  top_p?: number;
  max_tokens?: number;
  seed?: number;
  frequency_penalty?: number;
  presence_penalty?: number;
  stop: string[];
};

export const noSettings: Settings = { system: "", stop: [] };

export const numbers = ["temperature", "top_p", "max_tokens", "seed", "frequency_penalty", "presence_penalty"] as const;

export type Message = { role: "system" | "user" | "assistant"; content: string };

export type Exchange = { prompt: string; answer: string };

/** The conversation so far as a model gets it: an answer that never came is left out together with its prompt. */
export function messagesOf(system: string, before: readonly Exchange[], prompt: string): Message[] {
  const messages: Message[] = system.trim() ? [{ role: "system", content: system }] : [];
  for (const e of before) {
    if (e.answer) messages.push({ role: "user", content: e.prompt }, { role: "assistant", content: e.answer });
  }
  messages.push({ role: "user", content: prompt });
  return messages;
}

/** What a program would send to get what is seen: the draft, or the last prompt when there is none. */
export function exampleOf(system: string, turns: readonly Exchange[], draft: string, otherwise: string): Message[] {
  if (draft.trim() !== "") return messagesOf(system, turns, draft);
  const last = turns.at(-1);
  return last ? messagesOf(system, turns.slice(0, -1), last.prompt) : messagesOf(system, [], otherwise);
}

export type ChatRequest = { model: string; messages: Message[]; stream: true; stream_options: { include_usage: true } } & Partial<
  Record<(typeof numbers)[number], number>
> & { stop?: string[] };

/** The body of the request; only what is set is in it. */
export function requestOf(model: string, settings: Settings, messages: Message[]): ChatRequest {
  const body: ChatRequest = { model, messages, stream: true, stream_options: { include_usage: true } };
  for (const n of numbers) if (settings[n] !== undefined) body[n] = settings[n];
  const stop = settings.stop.map(unescaped).filter((s) => s !== "");
  if (stop.length > 0) body.stop = stop;
  return body;
}

/** A line break or tab cannot be typed into a field of one line: \n and \t stand for them, and \\ for a backslash. */
export function unescaped(text: string): string {
  return text.replace(/\\([nt\\])/g, (_, c: string) => (c === "n" ? "\n" : c === "t" ? "\t" : "\\"));
}

export type Usage = { prompt?: number; completion?: number };

/** One event of the stream, as far as it matters here. */
export type Piece = { text: string; thought: string; finish?: string; usage?: Usage; end?: boolean };

/** Reads an event of the stream; one that says what went wrong is thrown. */
export function pieceOf(data: string): Piece {
  if (data.trim() === "[DONE]") return { text: "", thought: "", end: true };
  let chunk: Chunk;
  try {
    chunk = JSON.parse(data) as Chunk;
  } catch {
    throw new ApiError(200, "unreadable", "");
  }
  if (chunk?.error) {
    const e = chunk.error;
    throw new ApiError(
      200,
      text(e.code) || text(e.type) || "unknown",
      text(e.message) || "the model reported an error without words",
      text(e.request_id),
    );
  }
  const choice = chunk?.choices?.[0];
  return {
    text: text(choice?.delta?.content),
    thought: text(choice?.delta?.reasoning_content) || text(choice?.delta?.reasoning),
    finish: text(choice?.finish_reason) || undefined,
    usage: chunk?.usage ? { prompt: count(chunk.usage.prompt_tokens), completion: count(chunk.usage.completion_tokens) } : undefined,
  };
}

type Chunk = {
  error?: Record<string, unknown>;
  choices?: { delta?: Record<string, unknown>; finish_reason?: unknown }[];
  usage?: Record<string, unknown> | null;
} | null;

function text(v: unknown): string {
  return typeof v === "string" ? v : "";
}

function count(v: unknown): number | undefined {
  return typeof v === "number" && Number.isFinite(v) && v >= 0 ? v : undefined;
}

/** When things happened in this browser, in milliseconds of one clock. */
export type Times = { sent: number; first?: number; last?: number };

/** `ttft` in milliseconds. */
export type Figures = { ttft?: number; perSecond?: number };

/** What came within so many milliseconds may have come at once: its pace cannot be told. */
const tooShort = 40;

/** What can be told of an answer's pace. The first token waited for the prompt to be read, so only those after it count for the speed. */
export function figuresOf(times: Times, tokens: number | undefined): Figures {
  const { sent, first, last } = times;
  if (first === undefined || last === undefined) return {};
  const known = tokens !== undefined && tokens > 1 && last - first >= tooShort;
  return { ttft: first - sent, perSecond: known ? ((tokens - 1) * 1000) / (last - first) : undefined };
}
