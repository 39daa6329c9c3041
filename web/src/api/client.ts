// The one way to the server: every request carries the session's cookie, every failure becomes an ApiError.
import createClient, { type Middleware } from "openapi-fetch";
import type { components, paths } from "./types.gen";

export type Schemas = components["schemas"];

/** What a request failed with, in the server's own words. `requestId` finds it in the server's log. */
export class ApiError extends Error {
  constructor(
    readonly status: number, // 0: no answer came
    readonly code: string,
    message: string,
    readonly requestId = "",
    readonly details: { field: string; reason: string }[] = [],
  ) {
    super(message);
    this.name = "ApiError";
  }
}

/** Reads the error of an answer that is not ok, in the shape of version 2 or of OpenAI. */
export async function errorOf(response: Response): Promise<ApiError> {
  const id = response.headers.get("X-Request-Id") ?? "";
  try {
    const body = await response.json();
    const e = body?.error ?? {};
    const details = Array.isArray(e.details) ? e.details.filter((d: unknown) => typeof d === "object" && d !== null && "field" in d) : [];
    return new ApiError(response.status, e.code ?? e.type ?? "unknown", e.message ?? response.statusText, e.request_id ?? id, details);
  } catch {
    return new ApiError(response.status, "unreadable", response.statusText || `HTTP ${response.status}`, id);
  }
}

type Listener = () => void;
const onLost = new Set<Listener>();

/** Calls back when an answer says that nobody is logged in any more. */
export function whenLoggedOut(listener: Listener): () => void {
  onLost.add(listener);
  return () => onLost.delete(listener);
}

export function noteStatus(status: number) {
  if (status === 401) for (const l of onLost) l();
}

/** Where a 401 is the answer itself, and no news about the session. */
const ownRefusals = ["/api/v2/whoami", "/api/v2/auth/login", "/api/v2/setup", "/api/v2/password"];

const failures: Middleware = {
  async onResponse({ response, schemaPath }) {
    if (response.ok || response.status === 304) return undefined;
    if (!ownRefusals.includes(schemaPath)) noteStatus(response.status);
    throw await errorOf(response);
  },
  onError({ error }) {
    if (error instanceof ApiError || (error instanceof DOMException && error.name === "AbortError")) return undefined;
    return new ApiError(0, "unreachable", "");
  },
};

// `fetch` is looked up at each call, so that tests may replace it.
export const api = createClient<paths>({ baseUrl: location.origin, credentials: "same-origin", fetch: (r) => globalThis.fetch(r) });
api.use(failures);

/** The body of an answer, which is there: what failed has been thrown. */
export async function must<T>(answer: Promise<{ data?: T }>): Promise<T> {
  return (await answer).data as T;
}

/** Asks for a path that is made at run time. What is not ok, or does not come, is thrown as ApiError; what the caller's signal ends, as it is. */
export async function request(path: string | URL, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...init });
  } catch (e) {
    throw init.signal?.aborted ? e : new ApiError(0, "unreachable", "");
  }
  if (!response.ok) {
    noteStatus(response.status);
    throw await errorOf(response);
  }
  return response;
}

/** Sends JSON to a path that is made at run time. */
export async function send<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
  const response = await request(path, { method, ...jsonOf(body, headers) });
  return response.status === 204 ? (undefined as T) : response.json();
}

/** The body of a request and its headers; none without a body. */
export function jsonOf(body: unknown, headers: Record<string, string> = {}): RequestInit {
  return body === undefined ? { headers } : { headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) };
}
