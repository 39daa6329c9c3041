import { Button, Group, Text, Textarea } from "@mantine/core";
import { IconPlayerStopFilled, IconSend2 } from "@tabler/icons-react";
import type { KeyboardEvent, ReactNode } from "react";
import { useTranslation } from "react-i18next";

type Props = {
  draft: string;
  onDraft: (text: string) => void;
  busy: boolean;
  ready: boolean;
  onSend: (text: string) => void;
  onStop: () => void;
  children: ReactNode;
};

/** Where a prompt is written. Enter sends it, Shift+Enter begins another line. */
export function Composer({ draft, onDraft, busy, ready, onSend, onStop, children }: Props) {
  const { t } = useTranslation("playground");
  const may = ready && draft.trim() !== "" && !busy;
  function key(e: KeyboardEvent) {
    if (e.key === "Escape" && busy) onStop();
    // An Enter that ends the choice of a Chinese word belongs to the input method.
    if (e.key !== "Enter" || e.shiftKey || e.nativeEvent.isComposing) return;
    e.preventDefault();
    if (may) onSend(draft);
  }
  return (
    <div className="talk-write">
      <Textarea
        aria-label={t("prompt")}
        placeholder={t("promptHint")}
        value={draft}
        onChange={(e) => onDraft(e.currentTarget.value)}
        onKeyDown={key}
        autosize
        minRows={2}
        maxRows={9}
        autoFocus
        dir="auto"
      />
      <Group justify="space-between" mt={8} gap="xs">
        <Group gap={4}>{children}</Group>
        <Group gap="sm">
          <Text size="xs" c="dimmed" visibleFrom="md">
            {t("memory")}
          </Text>
          {busy ? (
            <Button size="sm" color="red" variant="light" leftSection={<IconPlayerStopFilled size={15} />} onClick={onStop}>
              {t("stop")}
            </Button>
          ) : (
            <Button size="sm" leftSection={<IconSend2 size={15} />} disabled={!may} onClick={() => onSend(draft)}>
              {t("send")}
            </Button>
          )}
        </Group>
      </Group>
    </div>
  );
}
