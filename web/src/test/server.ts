// A server in a test: answers by method and path, in the shapes of the API's own types.
import { vi } from "vitest";
import type { paths } from "../api/types.gen";

type Method = "get" | "post" | "put" | "patch" | "delete";
type Operation<P extends keyof paths, M extends Method> = paths[P][M];
type Body<O> = O extends { responses: infer R }
  ? { [S in keyof R]: R[S] extends { content: { "application/json": infer B } } ? B : never }[keyof R]
  : never;

export type Seen = { method: string; path: string; query: URLSearchParams; body: unknown; headers: Headers };
type Answer = (seen: Seen) => Response | Promise<Response>;

export class TestServer {
  readonly seen: Seen[] = [];
  private readonly answers = new Map<string, Answer>();

  constructor() {
    vi.stubGlobal("fetch", async (input: RequestInfo | URL, init?: RequestInit) => {
      const request = new Request(input instanceof URL || typeof input === "string" ? new URL(input, location.origin) : input, init);
      const url = new URL(request.url);
      const text = await request.clone().text();
      const seen = {
        method: request.method,
        path: url.pathname,
        query: url.searchParams,
        body: text ? JSON.parse(text) : undefined,
        headers: request.headers,
      };
      this.seen.push(seen);
      const answer = this.answers.get(`${request.method} ${url.pathname}`);
      return answer ? answer(seen) : failure(404, "not_found", `the test has no answer to ${request.method} ${url.pathname}`);
    });
  }

  /** Answers an operation of the API with a body that has its type. `at` fills the parameters of the path. */
  on<M extends Method, P extends keyof paths>(
    method: M,
    path: P,
    body: Body<Operation<P, M>>,
    at: Record<string, string> = {},
    headers: Record<string, string> = {},
  ) {
    const real = Object.entries(at).reduce((p, [k, v]) => p.replace(`{${k}}`, encodeURIComponent(v)), path as string);
    this.answers.set(`${method.toUpperCase()} ${real}`, () => Response.json(body, { headers }));
    return this;
  }

  /** Answers in any way at all. */
  raw(route: string, answer: Answer) {
    this.answers.set(route, answer);
    return this;
  }
}

export function failure(status: number, code: string, message: string, details?: { field: string; reason: string }[]): Response {
  return Response.json({ error: { code, message, request_id: "req_test", details } }, { status, headers: { "X-Request-Id": "req_test" } });
}

/** A stream of server-sent events that stays open until it is closed. */
export function stream(): { response: Response; send: (type: string, data: unknown, id?: string) => void; close: () => void } {
  let controller: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({
    start: (c) => {
      controller = c;
    },
  });
  const encoder = new TextEncoder();
  return {
    response: new Response(body, { headers: { "Content-Type": "text/event-stream" } }),
    send: (type, data, id) =>
      controller.enqueue(encoder.encode(`${id ? `id: ${id}\n` : ""}event: ${type}\ndata: ${JSON.stringify(data)}\n\n`)),
    close: () => controller.close(),
  };
}
