import { cleanup, fireEvent, screen } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import { renderPage } from "../../test/render";
import { Filters } from "./Filters";
import type { Summary } from "./queries";

afterEach(cleanup);

const rest: Summary = {
  total: 1200,
  states: {},
  engines: { llamacpp: 1200 },
  labels: [
    {
      key: "team",
      models: 3,
      values: [
        { value: "a", models: 1 },
        { value: "b", models: 2 },
      ],
      more_values: 4,
    },
  ],
};

async function show(search: Parameters<typeof Filters>[0]["search"], summary = rest) {
  const onChange = vi.fn();
  await renderPage(() => <Filters search={search} onChange={onChange} states={summary} engines={summary.engines} rest={summary} />, {
    path: "/things",
  });
  const options = (select: HTMLElement) =>
    [...(select as HTMLSelectElement).options].map((o) => o.text + (o.disabled ? " (not to choose)" : ""));
  return { onChange, options, label: screen.getByLabelText("Label"), engine: screen.getByLabelText("Engine") };
}

test("labels are drawn when people turn to them, but those that are chosen, and say how many more there are", async () => {
  const { onChange, options, label } = await show({ label: ["team=a"] });
  expect(options(label)).toEqual(["Label"]);
  fireEvent.focus(label);
  expect(options(label)).toEqual(["Label", "team=b (2)", "and 4 more (not to choose)"]);
  fireEvent.change(label, { target: { value: "team=b" } });
  expect(onChange).toHaveBeenCalledWith({ label: ["team=a", "team=b"] });
});

test("where no model has a label, the field says so", async () => {
  const { options, label } = await show({}, { ...rest, labels: [] });
  fireEvent.focus(label);
  expect(options(label)).toEqual(["No labels"]);
});

test("an engine is chosen and given up again; one that only the address names is shown as well", async () => {
  const { onChange, options, engine } = await show({ engine: "vllm" });
  expect(options(engine)).toEqual(["Any engine", "llamacpp (1,200)", "vllm (0)"]);
  expect((engine as HTMLSelectElement).value).toBe("vllm");
  fireEvent.change(engine, { target: { value: "llamacpp" } });
  expect(onChange).toHaveBeenLastCalledWith({ engine: "llamacpp" });
  fireEvent.change(engine, { target: { value: "" } });
  expect(onChange).toHaveBeenLastCalledWith({ engine: undefined });
});
