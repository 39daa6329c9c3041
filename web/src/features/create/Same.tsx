import { Group, Text } from "@mantine/core";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { Copy, Section } from "../../ui/bits";
import { commandOf, documentOf, type NewModel } from "./logic";

/** The same as a command and as a file. */
export function Same({ model }: { model: NewModel }) {
  const { t } = useTranslation("create");
  const { command, left } = commandOf(model);
  const text = JSON.stringify(documentOf(model));
  const [file, setFile] = useState("");
  useEffect(() => {
    let stale = false;
    import("yaml").then((y) => !stale && setFile(y.stringify(JSON.parse(text))));
    return () => {
      stale = true;
    };
  }, [text]);
  return (
    <Section title={t("same.title")}>
      <Part title={t("same.command")} text={command} copy={t("same.copy")} />
      {left.length > 0 && (
        <Text size="xs" c="dimmed">
          {t("same.left", { fields: left.join(", ") })}
        </Text>
      )}
      <Part title={t("same.file")} text={file} copy={t("same.copy")} />
    </Section>
  );
}

function Part({ title, text, copy }: { title: string; text: string; copy: string }) {
  return (
    <>
      <Group justify="space-between" mt="xs">
        <Text size="sm" c="dimmed">
          {title}
        </Text>
        <Copy text={text} label={`${copy}: ${title}`} />
      </Group>
      <pre
        className="log foreign"
        tabIndex={0}
        role="region"
        aria-label={title}
        style={{ maxHeight: 220, overflow: "auto", background: "var(--nebula-ground)", borderRadius: 6 }}
      >
        {text}
      </pre>
    </>
  );
}
