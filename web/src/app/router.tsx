import { createRootRoute, createRoute, createRouter, lazyRouteComponent, Outlet } from "@tanstack/react-router";
import { search as accessSearch } from "../features/access/search";
import { search as auditSearch } from "../features/audit/search";
import { search as createSearch } from "../features/create/search";
import { search as detailSearch } from "../features/detail/search";
import { search as loginSearch } from "../features/login/search";
import { ahead as modelsAhead } from "../features/models/queries";
import { search as modelsSearch } from "../features/models/search";
import { search as nodesSearch } from "../features/nodes/search";
import { search as playgroundSearch } from "../features/playground/search";
import { search as templatesSearch } from "../features/templates/search";
import { Crashed, Guard, Nowhere } from "./guard";

const root = createRootRoute({ component: Outlet, notFoundComponent: Nowhere, errorComponent: Crashed });

/** Pages for whoever is not logged in. */
const login = createRoute({
  getParentRoute: () => root,
  path: "/login",
  validateSearch: loginSearch,
  component: lazyRouteComponent(() => import("../features/login/page"), "LoginPage"),
});
const setup = createRoute({
  getParentRoute: () => root,
  path: "/setup",
  component: lazyRouteComponent(() => import("../features/login/setup"), "SetupPage"),
});

/** Everything else has the frame around it. */
const shell = createRoute({ getParentRoute: () => root, id: "shell", component: Guard, notFoundComponent: Nowhere });
const under = () => shell;

/** Waits a moment for what a page shows first, so that it is not drawn twice; a page that is slow to come says itself what it waits for. */
function soon(data: Promise<unknown>): Promise<unknown> {
  return Promise.race([data.catch(() => {}), new Promise((done) => setTimeout(done, 200))]);
}

const pages = [
  createRoute({
    getParentRoute: under,
    path: "/",
    component: lazyRouteComponent(() => import("../features/overview/page"), "OverviewPage"),
  }),
  createRoute({
    getParentRoute: under,
    path: "/models",
    validateSearch: modelsSearch,
    loaderDeps: ({ search }) => search,
    loader: ({ deps }) => soon(modelsAhead(deps)),
    component: lazyRouteComponent(() => import("../features/models/page"), "ModelsPage"),
  }),
  createRoute({
    getParentRoute: under,
    path: "/models/$uid",
    validateSearch: detailSearch,
    component: lazyRouteComponent(() => import("../features/detail/page"), "DetailPage"),
  }),
  createRoute({
    getParentRoute: under,
    path: "/new",
    validateSearch: createSearch,
    component: lazyRouteComponent(() => import("../features/create/page"), "CreatePage"),
  }),
  createRoute({
    getParentRoute: under,
    path: "/playground",
    validateSearch: playgroundSearch,
    component: lazyRouteComponent(() => import("../features/playground/page"), "PlaygroundPage"),
  }),
  createRoute({
    getParentRoute: under,
    path: "/templates",
    validateSearch: templatesSearch,
    component: lazyRouteComponent(() => import("../features/templates/page"), "TemplatesPage"),
  }),
  createRoute({
    getParentRoute: under,
    path: "/nodes",
    validateSearch: nodesSearch,
    component: lazyRouteComponent(() => import("../features/nodes/page"), "NodesPage"),
  }),
  createRoute({
    getParentRoute: under,
    path: "/nodes/$id",
    component: lazyRouteComponent(() => import("../features/nodes/node"), "NodePage"),
  }),
  createRoute({
    getParentRoute: under,
    path: "/cache",
    component: lazyRouteComponent(() => import("../features/cache/page"), "CachePage"),
  }),
  createRoute({
    getParentRoute: under,
    path: "/audit",
    validateSearch: auditSearch,
    component: lazyRouteComponent(() => import("../features/audit/page"), "AuditPage"),
  }),
  createRoute({
    getParentRoute: under,
    path: "/access",
    validateSearch: accessSearch,
    component: lazyRouteComponent(() => import("../features/access/page"), "AccessPage"),
  }),
  createRoute({
    getParentRoute: under,
    path: "/settings",
    component: lazyRouteComponent(() => import("../features/settings/page"), "SettingsPage"),
  }),
  createRoute({
    getParentRoute: under,
    path: "/migration",
    component: lazyRouteComponent(() => import("../features/migration/page"), "MigrationPage"),
  }),
] as const;

export const router = createRouter({
  routeTree: root.addChildren([login, setup, shell.addChildren(pages)]),
  search: { strict: true }, // what a page has not looked at is not in its search
  defaultPreload: "intent",
  defaultPreloadStaleTime: 0,
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
