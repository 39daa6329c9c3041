import { cleanup, fireEvent, screen, waitFor } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import { exact } from "../lib/format";
import { renderPage } from "../test/render";
import { IconButton, When } from "./bits";
import { RowMenu } from "./RowMenu";
import { Table, tracks } from "./Table";
import { Tips } from "./tips";

afterEach(cleanup);

test("the columns of a long table have widths that hang on no row", () => {
  expect(tracks([{ width: 200 }, { number: true }, {}, { width: 44 }, { width: "50%" }], true)).toEqual({
    template: "40px minmax(200px, 200fr) minmax(90px, 90fr) minmax(120px, 120fr) 44px minmax(500px, 500fr)",
    least: 40 + 200 + 90 + 120 + 44 + 500,
  });
});

test("all rows are chosen, and none, by the box in the head; a part of them is neither", async () => {
  const onChange = vi.fn();
  const chosen = new Set(["a"]);
  const Page = () => (
    <Table
      label="things"
      columns={[{ key: "id", title: "Id", head: true, render: (r: { id: string }) => r.id }]}
      rows={[{ id: "a" }, { id: "b" }]}
      idOf={(r) => r.id}
      selection={{ chosen, onChange, label: (id) => `take ${id}` }}
    />
  );
  await renderPage(Page, { path: "/things" });
  const [all, a, b] = screen.getAllByRole("checkbox") as HTMLInputElement[];
  expect([all!.indeterminate, a!.checked, b!.checked]).toEqual([true, true, false]);
  fireEvent.click(all!);
  expect(onChange).toHaveBeenLastCalledWith(new Set(["a", "b"]));
  fireEvent.click(b!);
  expect(onChange).toHaveBeenLastCalledWith(new Set(["a", "b"]));
  fireEvent.click(a!);
  expect(onChange).toHaveBeenLastCalledWith(new Set());
  expect(screen.getByRole("rowheader", { name: "a" })).toBeTruthy();
});

test("a menu is made when it is asked for, and gives its button the focus back", async () => {
  const Page = () => <RowMenu label="what to do with a">{() => "inside"}</RowMenu>;
  await renderPage(Page, { path: "/things" });
  expect(screen.queryByText("inside")).toBeNull();
  fireEvent.click(screen.getByRole("button", { name: "what to do with a" }));
  await screen.findByText("inside");
  fireEvent.keyDown(screen.getByRole("menu"), { key: "Escape" });
  await waitFor(() => expect(screen.queryByText("inside")).toBeNull());
  await waitFor(() => expect(document.activeElement).toBe(screen.getByRole("button", { name: "what to do with a" })));
});

test("one tip at a time: it comes when the pointer rests, says what has changed, and goes with Escape", async () => {
  const Page = () => (
    <>
      <Tips />
      <IconButton label="first" onClick={() => {}}>
        1
      </IconButton>
      <IconButton label="second" onClick={() => {}}>
        2
      </IconButton>
    </>
  );
  await renderPage(Page, { path: "/things" });
  fireEvent.pointerOver(screen.getByRole("button", { name: "first" }));
  expect((await screen.findByRole("tooltip")).textContent).toBe("first");
  fireEvent.pointerOver(screen.getByRole("button", { name: "second" }));
  await waitFor(() => expect(screen.getByRole("tooltip").textContent).toBe("second"));
  screen.getByRole("button", { name: "second" }).dataset.tip = "done";
  await waitFor(() => expect(screen.getByRole("tooltip").textContent).toBe("done"));
  fireEvent.keyDown(document.body, { key: "Escape" });
  await waitFor(() => expect(screen.queryByRole("tooltip")).toBeNull());
});

test("a time that is told as a distance says the exact one when the pointer rests on it", async () => {
  const ms = Date.UTC(2026, 4, 6, 7, 8, 9);
  const Page = () => (
    <>
      <Tips />
      <When ms={ms} />
    </>
  );
  const { container } = await renderPage(Page, { path: "/things" });
  fireEvent.pointerOver(container.querySelector("time")!);
  expect((await screen.findByRole("tooltip")).textContent).toBe(exact(ms, "en"));
});
