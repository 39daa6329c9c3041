import { MantineProvider } from "@mantine/core";
import { act, fireEvent, render, screen, waitFor } from "@testing-library/react";
import { expect, test, vi } from "vitest";
import { fetchOverlays, useOverlays } from "./overlays";
import { PopMenu } from "./PopMenu";

/** The file that is fetched, from a server that is gone until it is `there`. */
const file = vi.hoisted(() => ({ there: false, asked: 0 }));
vi.mock("./overlayParts", async (original) => {
  file.asked++;
  if (!file.there) throw new Error("Failed to fetch dynamically imported module");
  return original();
});

function Wanting({ wanted }: { wanted: number }) {
  return <p>{useOverlays(wanted) ? "there" : "missing"}</p>;
}

const page = (wanted: number) => (
  <MantineProvider env="test">
    <PopMenu label="More" icon="…">
      {({ Item }) => <Item>Delete</Item>}
    </PopMenu>
    <Wanting wanted={wanted} />
  </MantineProvider>
);

test("what could not be fetched is tried again with each wish, and then everybody has it", async () => {
  const view = render(page(0));
  await expect(fetchOverlays()).rejects.toThrow();
  expect(file.asked).toBe(1);
  const button = () => screen.getByRole("button", { name: "More" });
  fireEvent.click(button());
  await waitFor(() => expect(file.asked).toBe(2));
  await act(async () => {});
  expect(button().getAttribute("aria-expanded")).toBe("false");
  // A notice, and another one while the first still waits to be shown.
  view.rerender(page(1));
  await waitFor(() => expect(file.asked).toBe(3));
  await act(async () => {});
  view.rerender(page(2));
  await waitFor(() => expect(file.asked).toBe(4));
  await act(async () => {});
  expect(screen.getByText("missing")).toBeTruthy();

  file.there = true;
  fireEvent.click(button());
  await screen.findByRole("menuitem", { name: "Delete" }, { timeout: 5000 }); // the file is read first
  expect(button().getAttribute("aria-expanded")).toBe("true");
  expect(screen.getByText("there")).toBeTruthy();
  expect(file.asked).toBe(5);
});
