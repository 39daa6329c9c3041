import { ActionIcon, Alert, Group, Stack, Text, Tooltip } from "@mantine/core";
import { IconPencil, IconRefresh } from "@tabler/icons-react";
import { memo } from "react";
import { useTranslation } from "react-i18next";
import { ApiError } from "../../api/client";
import type { Translate } from "../../lib/i18n";
import { Copy } from "../../ui/bits";
import { ErrorNote } from "../../ui/faces";
import { Answer } from "./Answer";
import { FiguresLine } from "./FiguresLine";
import type { Turn } from "./lane";

type Props = { turn: Turn; last: boolean; onAgain: () => void; onEdit: () => void };

/** A prompt and what came of it. */
export const TurnView = memo(function TurnView({ turn, last, onAgain, onEdit }: Props) {
  const { t } = useTranslation("playground");
  const over = turn.state !== "waiting" && turn.state !== "streaming";
  return (
    <Stack gap="xs" component="article">
      <div className="talk-prompt foreign" dir="auto">
        <span className="sr">{t("you")}</span>
        {turn.prompt}
      </div>
      {turn.thought && (
        <details open={!over && turn.answer === ""}>
          <summary>
            <Text span size="sm" c="dimmed">
              {t("thought")}
            </Text>
          </summary>
          <div className="talk-thought foreign" dir="auto">
            {turn.thought}
          </div>
        </details>
      )}
      <Answer text={turn.answer} live={!over} />
      {turn.state === "failed" && turn.error && (
        <ErrorNote
          error={worded(turn.error, t)}
          title={turn.answer ? t("failed.after") : t("failed.title")}
          retry={last ? onAgain : undefined}
        />
      )}
      {turn.finish === "length" && (
        <Alert color="orange" variant="light" py={6}>
          {t("cut")}
        </Alert>
      )}
      {turn.state === "done" && !turn.answer && !turn.thought && (
        <Text size="sm" c="dimmed">
          {t("nothing")}
        </Text>
      )}
      {over && (
        <Group gap="xs" justify="space-between">
          <FiguresLine turn={turn} />
          <Group gap={4}>
            {turn.answer && <Copy text={turn.answer} label={t("copyAnswer")} />}
            {last && <Deed label={t("again")} icon={<IconRefresh size={14} />} onClick={onAgain} />}
            {last && <Deed label={t("edit")} icon={<IconPencil size={14} />} onClick={onEdit} />}
          </Group>
        </Group>
      )}
    </Stack>
  );
});

function Deed({ label, icon, onClick }: { label: string; icon: React.ReactNode; onClick: () => void }) {
  return (
    <Tooltip label={label}>
      <ActionIcon variant="subtle" color="gray" size="sm" aria-label={label} onClick={onClick}>
        {icon}
      </ActionIcon>
    </Tooltip>
  );
}

/** The words for what no server said. */
function worded(e: ApiError, t: Translate<"playground">): ApiError {
  if (e.code === "broken_off") return new ApiError(e.status, e.code, t("failed.brokenOff"));
  if (e.code === "unreadable" && !e.message) return new ApiError(e.status, e.code, t("failed.unreadable"));
  if (e.status === 0) return new ApiError(200, e.code, t("failed.unreachable"));
  return e;
}
