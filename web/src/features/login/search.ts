/** Why a login by the provider failed: codes of the API. */
const failures = ["unauthorized", "forbidden", "conflict", "too_many_requests", "unavailable", "timeout", "not_found"] as const;

export type Search = { next?: string; error?: (typeof failures)[number] | "other"; request?: string };

/** Where a login at a provider can lead back to: the server keeps 512 bytes of it. What is longer begins at the first page. */
export function keptReturn(next: string | undefined): string {
  return next && new TextEncoder().encode(next).length <= 512 ? next : "/";
}

/** What the address of the login page holds. Nothing of it is shown as it is: anybody may write a link. */
export function search(s: Record<string, unknown>): Search {
  return {
    // A way back into this console, never elsewhere: browsers leave tabs and ends of lines out of addresses.
    next: typeof s.next === "string" && /^\/(?![/\\])[^\t\n\r]*$/.test(s.next) ? s.next : undefined,
    error: typeof s.error === "string" ? (failures.find((f) => f === s.error) ?? "other") : undefined,
    request: typeof s.request === "string" && /^[\w.-]{1,128}$/.test(s.request) ? s.request : undefined,
  };
}
