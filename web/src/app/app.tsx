import { MantineProvider } from "@mantine/core";
import { useNotifications } from "@mantine/notifications";
import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { setNonce } from "get-nonce";
import { queries } from "../api/queries";
import { useOverlays } from "../ui/overlays";
import { resolver, theme } from "../ui/theme";
import { Tips } from "../ui/tips";
import { router } from "./router";

// The server allows styles that carry the nonce of this very page, and no others.
const nonce = document.querySelector<HTMLMetaElement>("meta[property=csp-nonce]")?.nonce ?? "";
setNonce(nonce);

export function App() {
  return (
    <MantineProvider theme={theme} cssVariablesResolver={resolver} defaultColorScheme="auto" getStyleNonce={() => nonce}>
      <Notices />
      <Tips />
      <QueryClientProvider client={queries}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </MantineProvider>
  );
}

/** What was done and what failed. */
function Notices() {
  const { notifications, queue } = useNotifications();
  const Notifications = useOverlays(notifications.length + queue.length)?.Notifications;
  return Notifications ? <Notifications position="bottom-right" /> : null;
}
