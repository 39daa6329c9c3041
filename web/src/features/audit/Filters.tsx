import { Button, Group, Select, TextInput } from "@mantine/core";
import { IconX } from "@tabler/icons-react";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { narrowed } from "./logic";
import { results, type Search } from "./search";

type Props = { search: Search; onChange: (change: Partial<Search>) => void };

/** What narrows the log. Texts take effect on Enter, or when their field is left. */
export function Filters({ search, onChange }: Props) {
  const { t } = useTranslation("audit");
  return (
    <Group p="sm" gap="sm" align="flex-end" role="search" aria-label={t("filter")}>
      {(["actor", "verb", "object"] as const).map((name) => (
        <Field
          key={name}
          label={t(name)}
          hint={t(`hint.${name}`)}
          value={search[name] ?? ""}
          onTake={(v) => onChange({ [name]: v || undefined })}
        />
      ))}
      <Select
        label={t("result")}
        placeholder={t("any")}
        data={results.map((r) => ({ value: r, label: t(`results.${r}`) }))}
        value={search.result ?? null}
        onChange={(v) => onChange({ result: results.find((r) => r === v) })}
        clearable
        clearButtonProps={{ "aria-label": t("any") }}
        w={130}
        size="xs"
      />
      {(["from", "to"] as const).map((name) => (
        <TextInput
          key={name}
          type="datetime-local"
          label={t(name)}
          value={search[name] ?? ""}
          onChange={(e) => onChange({ [name]: e.currentTarget.value || undefined })}
          size="xs"
        />
      ))}
      {narrowed(search) && (
        <Button
          size="xs"
          variant="subtle"
          color="gray"
          leftSection={<IconX size={14} />}
          onClick={() =>
            onChange({ actor: undefined, verb: undefined, object: undefined, result: undefined, from: undefined, to: undefined })
          }
        >
          {t("all")}
        </Button>
      )}
    </Group>
  );
}

function Field({ label, hint, value, onTake }: { label: string; hint: string; value: string; onTake: (v: string) => void }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const take = () => text.trim() !== value && onTake(text.trim());
  return (
    <TextInput
      label={label}
      placeholder={hint}
      value={text}
      onChange={(e) => setText(e.currentTarget.value)}
      onBlur={take}
      onKeyDown={(e) => e.key === "Enter" && take()}
      spellCheck={false}
      autoComplete="off"
      w={150}
      size="xs"
    />
  );
}
