import { MantineProvider } from "@mantine/core";
import { render, screen } from "@testing-library/react";
import { expect, test } from "vitest";
import { ApiError } from "../api/client";
import { ErrorNote } from "./faces";

const shown = (e: ApiError) =>
  render(
    <MantineProvider env="test">
      <ErrorNote error={e} />
    </MantineProvider>,
  );

test("a fault that the message tells is told once", () => {
  shown(new ApiError(400, "invalid_request", "uid: is taken", "req_1", [{ field: "uid", reason: "is taken" }]));
  expect(screen.getAllByText(/is taken/)).toHaveLength(1);
  expect(screen.getByText("req_1")).toBeTruthy();
});

test("what the message does not tell is told beside it", () => {
  shown(
    new ApiError(400, "invalid_request", "uid: is taken, and 1 more", "req_2", [
      { field: "uid", reason: "is taken" },
      { field: "path", reason: "must be absolute" },
    ]),
  );
  expect(screen.getByText(/must be absolute/)).toBeTruthy();
});
