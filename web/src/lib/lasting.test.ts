import { act, renderHook } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import { useLasting } from "./lasting";

afterEach(() => {
  vi.useRealTimers();
});

test("what is over soon is not shown, what lasts is, until it is over", () => {
  vi.useFakeTimers();
  const { result, rerender } = renderHook(({ on }) => useLasting(on, 200), { initialProps: { on: true } });
  act(() => vi.advanceTimersByTime(199));
  expect(result.current).toBe(false);
  rerender({ on: false });
  act(() => vi.advanceTimersByTime(1000));
  expect(result.current).toBe(false);
  rerender({ on: true });
  act(() => vi.advanceTimersByTime(200));
  expect(result.current).toBe(true);
  rerender({ on: false });
  expect(result.current).toBe(false);
});
