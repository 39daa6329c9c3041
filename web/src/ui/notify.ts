import { notifications } from "@mantine/notifications";
import i18next from "i18next";
import { ApiError } from "../api/client";
import type { Translate } from "../lib/i18n";
import { messageOf } from "./faces";

/** Says that something was done. */
export function done(message: string) {
  notifications.show({ message, color: "teal", autoClose: 4000, closeButtonProps: closeButton() });
}

/** Says why something was not done; it stays until it is closed. */
export function failed(title: string, error: unknown, t: Translate) {
  const id = error instanceof ApiError && error.requestId ? ` (${t("face.request")} ${error.requestId})` : "";
  notifications.show({
    title,
    message: messageOf(error, t) + id,
    color: "red",
    autoClose: false,
    withBorder: true,
    closeButtonProps: closeButton(),
  });
}

function closeButton() {
  return { "aria-label": i18next.t("close") };
}
