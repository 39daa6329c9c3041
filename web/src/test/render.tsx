import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { QueryClientProvider } from "@tanstack/react-query";
import { createMemoryHistory, createRootRoute, createRoute, createRouter, RouterProvider } from "@tanstack/react-router";
import { type RenderResult, render } from "@testing-library/react";
import type { FunctionComponent } from "react";
import { forgetSources } from "../api/live";
import { queries } from "../api/queries";
import { theme } from "../ui/theme";

type Options = {
  /** The route's path, as in app/router.tsx; its id is that of the real route. */
  path: string;
  /** The address that is opened. */
  at?: string;
  search?: (s: Record<string, unknown>) => Record<string, unknown>;
};

/** Draws a page at its own route under the frame's id, with everything that it needs around it. */
export async function renderPage(Page: FunctionComponent, { path, at = path, search }: Options): Promise<RenderResult> {
  queries.clear();
  forgetSources();
  const root = createRootRoute();
  const shell = createRoute({ getParentRoute: () => root, id: "shell" });
  const page = createRoute({ getParentRoute: () => shell, path, component: Page, validateSearch: search });
  const rest = createRoute({ getParentRoute: () => shell, path: "$", component: () => null });
  const router = createRouter({
    routeTree: root.addChildren([shell.addChildren([page, rest])]),
    history: createMemoryHistory({ initialEntries: [at] }),
    defaultPendingMinMs: 0,
  });
  await router.load();
  return render(
    <MantineProvider theme={theme} env="test">
      <Notifications />
      <QueryClientProvider client={queries}>
        <RouterProvider router={router as never} />
      </QueryClientProvider>
    </MantineProvider>,
  );
}
