import { SegmentedControl, Stack, Text, useMantineColorScheme } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { speak } from "../../lib/i18n";
import { type Language, languages } from "../../lib/language";
import { Section } from "../../ui/bits";

/** What this browser keeps: language and colours. */
export function Preferences() {
  const { t, i18n } = useTranslation("settings");
  const { t: common } = useTranslation();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  return (
    <Section title={t("look.title")}>
      <Stack gap="sm">
        <div>
          <Text size="sm" fw={500} mb={4}>
            {common("tools.language")}
          </Text>
          <SegmentedControl
            aria-label={common("tools.language")}
            data={Object.entries(languages).map(([value, label]) => ({ value, label }))}
            value={i18n.language}
            onChange={(v) => speak(v as Language)}
          />
        </div>
        <div>
          <Text size="sm" fw={500} mb={4}>
            {common("tools.scheme")}
          </Text>
          <SegmentedControl
            aria-label={common("tools.scheme")}
            data={(["light", "dark", "auto"] as const).map((value) => ({ value, label: common(`tools.${value}`) }))}
            value={colorScheme}
            onChange={(v) => setColorScheme(v as typeof colorScheme)}
          />
        </div>
        <Text size="xs" c="dimmed">
          {t("look.kept")}
        </Text>
      </Stack>
    </Section>
  );
}
