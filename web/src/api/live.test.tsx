import { act, render, screen, waitFor } from "@testing-library/react";
import { describe, expect, test, vi } from "vitest";
import { failure, stream, TestServer } from "../test/server";
import { forgetSources, useLive } from "./live";

function Names({ path }: { path: string }) {
  const { data, error, mode } = useLive<{ node_id: string }[]>(path);
  return (
    <p>
      {mode} {error ? `${error.status} ${error.requestId}` : ""} {data?.map((n) => n.node_id).join(",")}
    </p>
  );
}

/** A page of a browser without locks has two streams; each test begins with none in use. */
async function drawn(path: string) {
  forgetSources();
  return render(<Names path={path} />);
}

describe("a followed list", () => {
  test("shows what comes, whenever it comes", async () => {
    const s = stream();
    new TestServer().raw("GET /api/v2/nodes", () => s.response);
    const view = await drawn("/api/v2/nodes");
    act(() => s.send("nodes", [{ node_id: "a" }], "5"));
    await waitFor(() => expect(screen.getByText(/live\s+a$/)).toBeTruthy());
    act(() => s.send("nodes", [{ node_id: "a" }, { node_id: "b" }], "6"));
    await waitFor(() => expect(screen.getByText(/a,b/)).toBeTruthy());
    view.unmount();
    s.close();
  });

  test("says why there is nothing, and goes on by itself", async () => {
    let tries = 0;
    const s = stream();
    new TestServer().raw("GET /api/v2/nodes", () => (tries++ === 0 ? failure(503, "unavailable", "not ready") : s.response));
    const view = await drawn("/api/v2/nodes");
    await waitFor(() => expect(screen.getByText(/offline 503 req_test/)).toBeTruthy());
    act(() => s.send("nodes", [{ node_id: "back" }]));
    await waitFor(() => expect(screen.getByText(/live\s+back/)).toBeTruthy(), { timeout: 4000 });
    view.unmount();
    s.close();
  });

  test("keeps what it had while the server is away", async () => {
    const first = stream();
    let tries = 0;
    new TestServer().raw("GET /api/v2/nodes", () => {
      if (tries++ === 0) return first.response;
      throw new TypeError("connection refused");
    });
    const view = await drawn("/api/v2/nodes");
    act(() => first.send("nodes", [{ node_id: "kept" }]));
    await waitFor(() => expect(screen.getByText(/live/)).toBeTruthy());
    act(() => first.close());
    await waitFor(() => expect(screen.getByText(/offline 0\s+kept/)).toBeTruthy());
    view.unmount();
  });

  test("does not ask again where that would change nothing", async () => {
    const server = new TestServer().raw("GET /api/v2/nodes", () => failure(403, "forbidden", "this needs the role viewer"));
    const view = await drawn("/api/v2/nodes");
    await waitFor(() => expect(screen.getByText(/offline 403/)).toBeTruthy());
    vi.useFakeTimers();
    await vi.advanceTimersByTimeAsync(60_000);
    vi.useRealTimers();
    expect(server.seen).toHaveLength(1);
    view.unmount();
  });

  test("asks nothing while the page is hidden", async () => {
    const server = new TestServer().raw("GET /api/v2/nodes", () => failure(503, "unavailable", "later"));
    const hidden = vi.spyOn(document, "visibilityState", "get").mockReturnValue("hidden");
    const view = await drawn("/api/v2/nodes");
    await Promise.resolve();
    expect(server.seen).toHaveLength(0);
    hidden.mockReturnValue("visible");
    act(() => void document.dispatchEvent(new Event("visibilitychange")));
    await waitFor(() => expect(server.seen.length).toBeGreaterThan(0));
    view.unmount();
  });

  test("looks at intervals when all streams are taken", async () => {
    const server = new TestServer();
    const held = [stream(), stream()];
    server.raw("GET /api/v2/a", () => held[0]!.response).raw("GET /api/v2/b", () => held[1]!.response);
    server.raw("GET /api/v2/c", () => Response.json([{ node_id: "seen" }]));
    // A list that comes in parts is looked at by a watch, which brings all of it.
    server.raw("GET /api/v2/d", (seen) => {
      if (!seen.query.has("watch")) return Response.json([{ node_id: "part" }], { headers: { "Nebula-Next-Cursor": "x" } });
      const s = stream();
      s.send("list", [{ node_id: "whole" }]);
      return s.response;
    });
    forgetSources();
    const view = render(
      <>
        <Names path="/api/v2/a" />
        <Names path="/api/v2/b" />
        <Names path="/api/v2/c" />
        <Names path="/api/v2/d" />
      </>,
    );
    await waitFor(() => expect(screen.getByText(/polling\s+seen/)).toBeTruthy());
    await waitFor(() => expect(screen.getByText(/polling\s+whole/)).toBeTruthy());
    expect(server.seen.filter((s) => s.path === "/api/v2/c").every((s) => !s.query.has("watch"))).toBe(true);
    view.unmount();
    for (const s of held) s.close();
  });
});
