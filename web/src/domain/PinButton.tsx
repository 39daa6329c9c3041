import { ActionIcon, Tooltip } from "@mantine/core";
import { IconPin, IconPinnedOff } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { inert } from "../lib/format";
import { done, failed } from "../ui/notify";
import { type FilesRequest, pin, unpin } from "./files";
import { useWish } from "./wish";

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
  const wish = useWish({
    is: pinned,
    work: (to) => (to ? pin(request) : unpin(request)),
    onDone: (to) => {
      done(t(to ? "pinnedNow" : "unpinned", { name: inert(name, 60) }));
      onDone?.();
    },
    onFailed: (e, to) => failed(t(to ? "notPinned" : "notUnpinned"), e, t as never),
  });
  const word = wish.shown ? t("unpin") : t("pin");
  return (
    <Tooltip label={wish.shown ? t("unpinHint") : t("pinHint")}>
      <ActionIcon
        variant="default"
        size="md"
        aria-busy={wish.busy || undefined}
        onClick={wish.flip}
        aria-label={`${word}: ${inert(name, 60)}`}
      >
        {wish.shown ? <IconPinnedOff size={16} /> : <IconPin size={16} />}
      </ActionIcon>
    </Tooltip>
  );
}
