// What lies over a page: none of it is there when a page is drawn. A file of its own, see overlays.ts.
export { Menu, Tooltip } from "@mantine/core";
export { Notifications } from "@mantine/notifications";
