import { ActionIcon, Tooltip } from "@mantine/core";
import { IconPin, IconPinnedOff } from "@tabler/icons-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { inert } from "../lib/format";
import { done, failed } from "../ui/notify";
import { type FilesRequest, pin, unpin } from "./files";

/** Pins files, or lifts the pin; what comes of it is seen in the entry itself. */
export function PinButton({
  request,
  pinned,
  name,
  onDone,
}: {
  request: FilesRequest;
  pinned: boolean;
  name: string;
  onDone?: () => void;
}) {
  const { t } = useTranslation(["cache", "common"]);
  const [busy, setBusy] = useState(false);
  const word = pinned ? t("unpin") : t("pin");
  async function change() {
    setBusy(true);
    try {
      await (pinned ? unpin(request) : pin(request));
      done(t(pinned ? "unpinned" : "pinnedNow", { name: inert(name, 60) }));
      onDone?.();
    } catch (e) {
      failed(t(pinned ? "notUnpinned" : "notPinned"), e, t as never);
    }
    setBusy(false);
  }
  return (
    <Tooltip label={pinned ? t("unpinHint") : t("pinHint")}>
      <ActionIcon variant="default" size="md" loading={busy} onClick={change} aria-label={`${word}: ${inert(name, 60)}`}>
        {pinned ? <IconPinnedOff size={16} /> : <IconPin size={16} />}
      </ActionIcon>
    </Tooltip>
  );
}
