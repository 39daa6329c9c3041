import { useMantineColorScheme } from "@mantine/core";
import { IconDeviceDesktop, IconLanguage, IconMoon, IconSun } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { speak } from "../lib/i18n";
import { type Language, languages } from "../lib/language";
import { PopMenu } from "./PopMenu";

export function LanguageMenu() {
  const { t, i18n } = useTranslation();
  return (
    <PopMenu framed label={t("tools.language")} icon={<IconLanguage size={18} />}>
      {({ Item }) =>
        (Object.keys(languages) as Language[]).map((l) => (
          <Item
            key={l}
            lang={l === "zh" ? "zh-CN" : "en"}
            aria-current={i18n.language === l ? "true" : undefined}
            fw={i18n.language === l ? 650 : 400}
            onClick={() => speak(l)}
          >
            {languages[l]}
          </Item>
        ))
      }
    </PopMenu>
  );
}

export function SchemeMenu() {
  const { t } = useTranslation();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const kinds = [
    ["light", IconSun],
    ["dark", IconMoon],
    ["auto", IconDeviceDesktop],
  ] as const;
  const Icon = kinds.find(([k]) => k === colorScheme)![1];
  return (
    <PopMenu framed label={t("tools.scheme")} icon={<Icon size={18} />}>
      {({ Item }) =>
        kinds.map(([k, I]) => (
          <Item
            key={k}
            leftSection={<I size={16} />}
            aria-current={colorScheme === k ? "true" : undefined}
            fw={colorScheme === k ? 650 : 400}
            onClick={() => setColorScheme(k)}
          >
            {t(`tools.${k}`)}
          </Item>
        ))
      }
    </PopMenu>
  );
}
