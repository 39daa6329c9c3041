import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { QueryClientProvider } from "@tanstack/react-query";
import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import { queries } from "../api/queries";
import { failure, TestServer } from "../test/server";
import { PinButton } from "./PinButton";

test("a pin shows at once, and falls back with the cause when it is refused", async () => {
  let answer: (r: Response) => void = () => {};
  new TestServer().raw(
    "POST /api/v2/cache/pin",
    () =>
      new Promise((done) => {
        answer = done;
      }),
  );
  render(
    <MantineProvider env="test">
      <Notifications />
      <QueryClientProvider client={queries}>
        <PinButton request={{ model_name: "acme/Tiny-GGUF" } as never} pinned={false} name="acme/Tiny-GGUF" />
      </QueryClientProvider>
    </MantineProvider>,
  );
  await userEvent.click(screen.getByRole("button", { name: "Pin: acme/Tiny-GGUF" }));
  const asked = screen.getByRole("button", { name: "Unpin: acme/Tiny-GGUF" }); // before the server has said anything
  expect(asked.getAttribute("aria-busy")).toBe("true");
  await userEvent.click(asked); // what is on its way is not asked back
  answer(failure(409, "conflict", "the node is being removed"));
  await screen.findByRole("button", { name: "Pin: acme/Tiny-GGUF" }, { timeout: 30_000 });
  await screen.findByText(/The node is being removed/, {}, { timeout: 30_000 });
}, 60_000);
