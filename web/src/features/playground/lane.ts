// One conversation with one model. It lives in the memory of this page alone, and goes on when its part of the page is not shown.
import { ApiError } from "../../api/client";
import { events } from "../../api/stream";
import { messagesOf, pieceOf, requestOf, type Settings, type Times, type Usage } from "./chat";

export type Turn = {
  id: number;
  model: string;
  prompt: string;
  answer: string;
  thought: string;
  state: "waiting" | "streaming" | "done" | "stopped" | "failed";
  finish?: string;
  error?: ApiError;
  usage?: Usage;
  times: Times;
};

let ids = 0;

export class Lane {
  private turns: Turn[] = [];
  private shown: readonly Turn[] = [];
  private readonly listeners = new Set<() => void>();
  private running: AbortController | null = null;
  private frame = 0;

  /** `onFailure` is told when a model did not answer well. */
  constructor(private readonly onFailure: () => void = () => {}) {}

  get = () => this.shown;

  subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  get busy(): boolean {
    return this.running !== null;
  }

  send(model: string, settings: Settings, prompt: string): Promise<void> {
    this.stop();
    const times = { sent: performance.now() };
    const turn: Turn = { id: ++ids, model, prompt, answer: "", thought: "", state: "waiting", times };
    const before = this.turns;
    this.turns = [...before, turn];
    return this.run(turn, requestOf(model, settings, messagesOf(settings.system, before, prompt)));
  }

  /** Asks for the last answer once more, of the model and with the settings as they are now. */
  again(model: string, settings: Settings): Promise<void> {
    const last = this.takeBack();
    return last === undefined ? Promise.resolve() : this.send(model, settings, last);
  }

  /** Stops the answer at once; what has come stays. */
  stop() {
    this.running?.abort();
    this.running = null;
    const last = this.turns.at(-1);
    if (last && (last.state === "waiting" || last.state === "streaming")) this.put(last.id, { state: "stopped" });
    this.publish();
  }

  /** Removes the last prompt with its answer, and gives the prompt. */
  takeBack(): string | undefined {
    this.stop();
    const last = this.turns.at(-1);
    this.turns = this.turns.slice(0, -1);
    this.publish();
    return last?.prompt;
  }

  clear() {
    this.stop();
    this.turns = [];
    this.publish();
  }

  private async run(turn: Turn, body: unknown) {
    const stop = new AbortController();
    this.running = stop;
    this.publish();
    let { answer, thought } = turn;
    const times = { ...turn.times };
    let ended = false;
    try {
      for await (const event of events("/v1/chat/completions", stop.signal, body)) {
        const piece = pieceOf(event.data);
        if (stop.signal.aborted) return;
        if (piece.text || piece.thought) {
          times.last = performance.now();
          times.first ??= times.last;
        }
        answer += piece.text;
        thought += piece.thought;
        ended ||= piece.end === true;
        this.put(turn.id, {
          answer,
          thought,
          times: { ...times },
          state: times.first === undefined ? "waiting" : "streaming",
          ...(piece.finish && { finish: piece.finish }),
          ...(piece.usage && { usage: piece.usage }),
        });
        this.publishSoon();
        if (ended) break;
      }
      if (stop.signal.aborted) return;
      if (!ended) throw new ApiError(200, "broken_off", "");
      this.put(turn.id, { state: "done" });
    } catch (e) {
      if (stop.signal.aborted) return;
      this.put(turn.id, { state: "failed", error: e instanceof ApiError ? e : new ApiError(0, "unreachable", "") });
      this.onFailure();
    }
    if (this.running === stop) this.running = null;
    this.publish();
  }

  private put(id: number, change: Partial<Turn>) {
    this.turns = this.turns.map((t) => (t.id === id ? { ...t, ...change } : t));
  }

  /** Pieces may come faster than anybody can read: they are drawn once a frame. */
  private publishSoon() {
    this.frame ||= requestAnimationFrame(() => this.publish());
  }

  private publish() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.shown = this.turns;
    for (const l of this.listeners) l();
  }
}
