// What the navigation shows, in which order, and to whom. A part that comes later has its place here and nothing that leads nowhere.
import {
  IconArrowsExchange,
  IconBox,
  IconDatabase,
  IconFileText,
  IconKey,
  IconLayoutDashboard,
  IconMessage,
  IconServer2,
  IconSettings,
  IconTemplate,
} from "@tabler/icons-react";
import type { Role } from "../domain/session";

export type Entry = {
  to: "/" | "/models" | "/playground" | "/templates" | "/nodes" | "/cache" | "/audit" | "/access" | "/settings" | "/migration";
  text: EntryText;
  icon: typeof IconBox;
  role: Role;
};
export type EntryText =
  | "overview"
  | "models"
  | "playground"
  | "templates"
  | "nodes"
  | "cache"
  | "audit"
  | "access"
  | "settings"
  | "migration";
export type Group = { text: "serve" | "fleet" | "govern"; entries: Entry[] };

/** Usage and gateway belong under "serve", images under "fleet", when they come. */
export const navigation: Group[] = [
  {
    text: "serve",
    entries: [
      { to: "/", text: "overview", icon: IconLayoutDashboard, role: "viewer" },
      { to: "/models", text: "models", icon: IconBox, role: "viewer" },
      { to: "/playground", text: "playground", icon: IconMessage, role: "inference" },
      { to: "/templates", text: "templates", icon: IconTemplate, role: "viewer" },
    ],
  },
  {
    text: "fleet",
    entries: [
      { to: "/nodes", text: "nodes", icon: IconServer2, role: "viewer" },
      { to: "/cache", text: "cache", icon: IconDatabase, role: "viewer" },
    ],
  },
  {
    text: "govern",
    entries: [
      { to: "/audit", text: "audit", icon: IconFileText, role: "admin" },
      { to: "/access", text: "access", icon: IconKey, role: "viewer" },
      { to: "/migration", text: "migration", icon: IconArrowsExchange, role: "admin" },
      { to: "/settings", text: "settings", icon: IconSettings, role: "inference" },
    ],
  },
];
