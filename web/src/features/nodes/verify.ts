// Reads a node's files and compares them with their hashes: the server answers with a JSON object on each line until all was read.
import { ApiError, errorOf, jsonOf, request, type Schemas } from "../../api/client";

export type VerifyEvent = {
  type: "progress" | "damaged" | "end" | "failed";
  model_name?: string;
  file?: string;
  fault?: string;
  files: number;
  files_total: number;
  done_bytes: number;
  total_bytes: number;
  damaged: number;
  error?: { code: string; message: string; request_id?: string };
};

/** Yields the lines of one verification; ends it when the signal does. An end that the server did not announce is thrown. */
export async function* verify(node: string, body: Schemas["CacheVerify"], signal: AbortSignal): AsyncGenerator<VerifyEvent> {
  const response = await request(`/api/v2/nodes/${encodeURIComponent(node)}/cache/verify`, { method: "POST", signal, ...jsonOf(body) });
  if (!response.body) throw await errorOf(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line.trim()) yield checked(JSON.parse(line));
    }
    if (rest.trim()) yield checked(JSON.parse(rest));
  } finally {
    reader.cancel().catch(() => {});
  }
}

function checked(e: VerifyEvent): VerifyEvent {
  if (e.type === "failed") throw new ApiError(502, e.error?.code ?? "unknown", e.error?.message ?? "", e.error?.request_id ?? "");
  return e;
}
