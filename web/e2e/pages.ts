// Every page of the console, for what is done with each: pictures, accessibility, figures.

export const pages: { name: string; path: string }[] = [
  { name: "overview", path: "/" },
  { name: "models", path: "/models" },
  { name: "new-model", path: "/new" },
  { name: "playground", path: "/playground" },
  { name: "templates", path: "/templates" },
  { name: "nodes", path: "/nodes" },
  { name: "cache", path: "/cache" },
  { name: "audit", path: "/audit" },
  { name: "access", path: "/access" },
  { name: "migration", path: "/migration" },
  { name: "settings", path: "/settings" },
];
