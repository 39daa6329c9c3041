import { Alert, Button, Group, Stack, Text } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { inert } from "../../lib/format";
import { Unknown } from "../../ui/bits";
import { type Column, Table } from "../../ui/Table";
import { differences } from "./logic";
import type { Template } from "./queries";

type Line = ReturnType<typeof differences>[number];

/** Somebody changed the template meanwhile: what, and the two ways on. Nothing is overwritten without a word. */
export function Changed({
  was,
  is,
  busy,
  onTake,
  onOver,
}: {
  was: Template;
  is: Template;
  busy: boolean;
  onTake: () => void;
  onOver: () => void;
}) {
  const { t } = useTranslation("templates");
  const text = (v: string) => (v ? <span className="foreign">{inert(v, 200)}</span> : <Unknown />);
  const columns: Column<Line>[] = [
    { key: "field", head: true, title: t("changed.field"), render: (d) => t(`field.${d.field}`) },
    { key: "was", title: t("changed.was"), render: (d) => text(d.was) },
    { key: "is", title: t("changed.is"), render: (d) => text(d.is) },
  ];
  const lines = differences(was, is);
  return (
    <Alert color="orange" icon={<IconAlertTriangle />} title={t("changed.title")} role="alert">
      <Stack gap="xs">
        <Text size="sm">{t("changed.text")}</Text>
        {lines.length > 0 && <Table label={t("changed.table")} columns={columns} rows={lines} idOf={(d) => d.field} />}
        <Group gap="xs">
          <Button size="xs" onClick={onTake}>
            {t("changed.take")}
          </Button>
          <Button size="xs" variant="default" onClick={onOver} loading={busy}>
            {t("changed.over")}
          </Button>
        </Group>
      </Stack>
    </Alert>
  );
}
