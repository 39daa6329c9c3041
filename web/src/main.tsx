import "@mantine/core/styles.css";
import "@mantine/notifications/styles.css";
import "@mantine/spotlight/styles.css";
import "./ui/styles.css";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { queries } from "./api/queries";
import { App } from "./app/app";
import { router } from "./app/router";
import { whoamiQuery } from "./domain/session";
import { startI18n } from "./lib/i18n";
import { fetchOverlays } from "./ui/overlays";

/** Loads the page of the address, which becomes first what it should read: what nobody has looked at is not in it. */
function openPage() {
  const here = { search: true, params: true, hash: true, state: true } as const;
  return router.navigate({ to: router.latestLocation.pathname, ...here, replace: true });
}

/** Everything that the first page needs is asked for at once, and then drawn once. Nothing waits for this: the files of pages import this very one. */
async function start() {
  await Promise.all([startI18n(), queries.prefetchQuery(whoamiQuery), openPage()]);
  createRoot(document.getElementById("root")!).render(
    <StrictMode>
      <App />
    </StrictMode>,
  );
  // Ahead of the first menu or notice, and so that a notice can say that the server has gone.
  setTimeout(() => fetchOverlays().catch(() => {}), 500);
}

void start();
