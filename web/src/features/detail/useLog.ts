import { useCallback, useEffect, useRef, useState } from "react";
import { ApiError, errorOf, request } from "../../api/client";
import { pause, seen } from "../../api/stream";
import { addLines } from "./logic";

export type LogState = "opening" | "following" | "ended" | "failed";
const most = 5000;

/** Follows the log of a replica's engine, at most 5000 lines of it; `again` begins anew. */
export function useLog(uid: string, replica: number, previous: boolean) {
  const [lines, setLines] = useState<string[]>([]);
  const [state, setState] = useState<LogState>("opening");
  const [error, setError] = useState<unknown>(null);
  const [turn, setTurn] = useState(0);
  const held = useRef<string[]>([]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another turn begins anew
  useEffect(() => {
    const stop = new AbortController();
    let frame = 0;
    held.current = [];
    setLines([]);
    setState("opening");
    setError(null);
    const show = () => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        setLines(held.current);
      });
    };
    const query = new URLSearchParams({ replica: String(replica), tail: "500", ...(previous ? { previous: "1" } : { follow: "1" }) });
    read(
      `/api/v2/models/${encodeURIComponent(uid)}/logs?${query}`,
      stop.signal,
      () => setState("following"),
      (text) => {
        held.current = addLines(held.current, text, most);
        show();
      },
    ).then(
      () => !stop.signal.aborted && setState("ended"),
      (e) => {
        if (stop.signal.aborted) return;
        setError(e);
        setState("failed");
      },
    );
    return () => {
      stop.abort();
      cancelAnimationFrame(frame);
    };
  }, [uid, replica, previous, turn]);
  const again = useCallback(() => setTurn((n) => n + 1), []);
  return { lines, state, error, again };
}

async function read(path: string, signal: AbortSignal, opened: () => void, take: (text: string) => void) {
  await seen(signal);
  await pause(0, signal); // a page that is drawn twice asks once
  if (signal.aborted) return;
  const response = await request(path, { signal });
  if (!response.body) throw await errorOf(response);
  opened();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw new ApiError(0, "unreachable", "");
    });
    if (done) return;
    take(value);
  }
}
