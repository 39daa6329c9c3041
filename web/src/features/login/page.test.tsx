import { MantineProvider } from "@mantine/core";
import { QueryClientProvider } from "@tanstack/react-query";
import { createMemoryHistory, createRootRoute, createRoute, createRouter, RouterProvider } from "@tanstack/react-router";
import { fireEvent, render, screen, waitFor } from "@testing-library/react";
import { expect, test } from "vitest";
import { queries } from "../../api/queries";
import { failure, TestServer } from "../../test/server";
import { LoginPage } from "./page";
import { search } from "./search";

async function open(at: string) {
  queries.clear();
  new TestServer()
    .on("get", "/api/v2/setup", { needed: false, login_provider: true, provider_name: "corp" })
    .raw("GET /api/v2/whoami", () => failure(401, "unauthorized", "log in"))
    .raw("POST /api/v2/auth/login", () => Response.json({ id: "ada", role: "admin" }));
  const root = createRootRoute();
  const login = createRoute({ getParentRoute: () => root, path: "/login", validateSearch: search, component: LoginPage });
  const rest = createRoute({ getParentRoute: () => root, path: "$", component: () => null });
  const home = createRoute({ getParentRoute: () => root, path: "/", component: () => null });
  const router = createRouter({
    routeTree: root.addChildren([login, home, rest]),
    history: createMemoryHistory({ initialEntries: [at] }),
    search: { strict: true },
  });
  await router.load();
  render(
    <MantineProvider env="test">
      <QueryClientProvider client={queries}>
        <RouterProvider router={router as never} />
      </QueryClientProvider>
    </MantineProvider>,
  );
  return router;
}

async function logIn() {
  fireEvent.change(await screen.findByLabelText("User name"), { target: { value: "ada" } });
  fireEvent.change(screen.getByLabelText("Password"), { target: { value: "correct horse battery" } });
  fireEvent.click(screen.getByRole("button", { name: "Log in" }));
}

test("whom the provider refused goes on to the wanted page with a password, or by another try at the provider", async () => {
  const deep = "/models/tiny?tab=logs&replica=1";
  const router = await open(`/login?error=forbidden&next=${encodeURIComponent(deep)}&request=req_1`);
  expect((await screen.findByRole("alert")).textContent).toContain("does not let you in");
  const again = await screen.findByRole("link", { name: "Log in at corp" });
  expect(again.getAttribute("href")).toBe(`/api/v2/auth/oidc/login?return=${encodeURIComponent(deep)}`);
  await logIn();
  await waitFor(() => expect(router.state.location.href).toBe(deep));
});

test.each(["//evil.example/x", "/\t/evil.example"])("a refusal never leads to %j", async (evil) => {
  const router = await open(`/login?error=forbidden&next=${encodeURIComponent(evil)}`);
  await logIn();
  await waitFor(() => expect(router.state.location.href).toBe("/"));
});
