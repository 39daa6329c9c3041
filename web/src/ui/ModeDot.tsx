import { Group, Text, Tooltip } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { Mode } from "../api/keep";

const color: Record<Mode, string> = { live: "teal", polling: "blue", offline: "red", connecting: "gray" };

/** How current what is shown is: followed live, looked at now and then, or cut off. */
export function ModeDot({ mode }: { mode: Mode }) {
  const { t } = useTranslation();
  return (
    <Tooltip label={t(`modeHint.${mode}`)}>
      <Group gap={6} wrap="nowrap" role="status" data-live={mode} tabIndex={0} style={{ borderRadius: 4 }}>
        <span
          aria-hidden="true"
          style={{ width: 8, height: 8, borderRadius: 4, background: `var(--mantine-color-${color[mode]}-filled)`, flex: "none" }}
        />
        <Text span size="xs" c="dimmed">
          {t(`mode.${mode}`)}
        </Text>
      </Group>
    </Tooltip>
  );
}
