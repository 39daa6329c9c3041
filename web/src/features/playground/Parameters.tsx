import { Button, NumberInput, Stack, TagsInput, Text, Textarea } from "@mantine/core";
import { IconRestore } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { noSettings, numbers, type Settings } from "./chat";

type Limits = { min?: number; max?: number; step: number; decimals: number };

const limits: Record<(typeof numbers)[number], Limits> = {
  temperature: { min: 0, max: 2, step: 0.1, decimals: 2 },
  top_p: { min: 0, max: 1, step: 0.05, decimals: 3 },
  max_tokens: { min: 1, step: 64, decimals: 0 },
  seed: { min: 0, max: 2_147_483_647, step: 1, decimals: 0 },
  frequency_penalty: { min: -2, max: 2, step: 0.1, decimals: 2 },
  presence_penalty: { min: -2, max: 2, step: 0.1, decimals: 2 },
};

/** What a person may set of a request. An empty field is not sent. */
export function Parameters({ settings, onChange }: { settings: Settings; onChange: (change: Partial<Settings>) => void }) {
  const { t } = useTranslation("playground");
  return (
    <Stack gap="sm">
      <Textarea
        label={t("parameters.system")}
        placeholder={t("parameters.systemHint")}
        value={settings.system}
        onChange={(e) => onChange({ system: e.currentTarget.value })}
        autosize
        minRows={3}
        maxRows={8}
        dir="auto"
      />
      {numbers.map((n) => (
        <NumberInput
          key={n}
          label={t(`parameters.${n}`)}
          placeholder={t("parameters.default")}
          value={settings[n] ?? ""}
          onChange={(v) => onChange({ [n]: typeof v === "number" ? v : undefined })}
          min={limits[n].min}
          max={limits[n].max}
          step={limits[n].step}
          decimalScale={limits[n].decimals}
          allowNegative={(limits[n].min ?? 0) < 0}
          clampBehavior="strict"
          size="sm"
        />
      ))}
      <TagsInput
        label={t("parameters.stop")}
        description={t("parameters.stopHint")}
        value={settings.stop}
        onChange={(stop) => onChange({ stop })}
        splitChars={[]}
        maxTags={4}
        acceptValueOnBlur
        clearable={false}
      />
      <Text size="xs" c="dimmed">
        {t("parameters.only")}
      </Text>
      <Button
        size="compact-sm"
        variant="subtle"
        color="gray"
        leftSection={<IconRestore size={14} />}
        onClick={() => onChange({ ...noSettings, ...Object.fromEntries(numbers.map((n) => [n, undefined])) })}
      >
        {t("parameters.reset")}
      </Button>
    </Stack>
  );
}
