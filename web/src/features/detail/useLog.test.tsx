import { act, renderHook, waitFor } from "@testing-library/react";
import { expect, test, vi } from "vitest";
import { whenLoggedOut } from "../../api/client";
import { failure, TestServer } from "../../test/server";
import { useLog } from "./useLog";

test("a log whose reader's login ends stops, and asking again tells the page that nobody is logged in", async () => {
  let end = () => {};
  const answers = [
    () =>
      new Response(
        new ReadableStream({
          start(c) {
            c.enqueue(new TextEncoder().encode("loading\n"));
            end = () => c.close();
          },
        }),
      ),
    () => failure(401, "unauthorized", "the session has ended"),
  ];
  const server = new TestServer().raw("GET /api/v2/models/tiny/logs", () => answers.shift()!());
  const out = vi.fn();
  const forget = whenLoggedOut(out);
  const { result } = renderHook(() => useLog("tiny", 0, false));
  await waitFor(() => expect(result.current.lines.join("")).toContain("loading"));
  expect(result.current.state).toBe("following");
  act(() => end()); // so does the server when a session ends
  await waitFor(() => expect(result.current.state).toBe("ended"));
  expect(out).not.toHaveBeenCalled();
  act(() => result.current.again());
  await waitFor(() => expect(result.current.state).toBe("failed"));
  expect(result.current.error).toMatchObject({ status: 401 });
  expect(out).toHaveBeenCalledTimes(1);
  expect(server.seen.map((s) => s.query.get("follow"))).toEqual(["1", "1"]);
  forget();
});
