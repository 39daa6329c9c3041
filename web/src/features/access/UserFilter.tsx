import { CloseButton, TextInput } from "@mantine/core";
import { IconUser } from "@tabler/icons-react";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";

/** Narrows a list to one user, when Enter is pressed or the field is left. */
export function UserFilter({ value, onChange }: { value: string | undefined; onChange: (user: string | undefined) => void }) {
  const { t } = useTranslation("access");
  const [text, setText] = useState(value ?? "");
  useEffect(() => setText(value ?? ""), [value]);
  const take = () => text.trim() !== (value ?? "") && onChange(text.trim() || undefined);
  return (
    <TextInput
      aria-label={t("ofUser")}
      placeholder={t("ofUser")}
      leftSection={<IconUser size={15} aria-hidden="true" />}
      rightSection={value ? <CloseButton size="sm" aria-label={t("ofAll")} onClick={() => onChange(undefined)} /> : null}
      value={text}
      onChange={(e) => setText(e.currentTarget.value)}
      onBlur={take}
      onKeyDown={(e) => e.key === "Enter" && take()}
      spellCheck={false}
      autoComplete="off"
      w={220}
    />
  );
}
