import { Alert, Button, Group, Stack, Text } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { inert } from "../lib/format";
import { Unknown } from "./bits";
import { type Column, Table } from "./Table";

/** What somebody else changed: the field's name in the reader's words, and its values as text; "" where there is none. */
export type Line = { field: string; was: string; is: string };

type Props = {
  lines: Line[];
  /** Goes on with what it is now, without what was entered here. */
  onTheirs: () => void;
  /** Goes on with what was entered here, on top of what it is now. */
  onMine: () => void;
};

/** Somebody changed the same thing while a form was open: what, and the two ways on. Nothing is overwritten without a word. */
export function Changed({ lines, onTheirs, onMine }: Props) {
  const { t } = useTranslation();
  const text = (v: string) => (v ? <span className="foreign">{inert(v, 200)}</span> : <Unknown />);
  const columns: Column<Line>[] = [
    { key: "field", head: true, title: t("changed.field"), render: (d) => d.field },
    { key: "was", title: t("changed.was"), render: (d) => text(d.was) },
    { key: "is", title: t("changed.is"), render: (d) => text(d.is) },
  ];
  return (
    <Alert color="orange" variant="light" icon={<IconAlertTriangle />} title={t("face.conflict")} role="alert">
      <Stack gap="xs">
        <Text size="sm">{t("changed.text")}</Text>
        {lines.length > 0 ? (
          <Table label={t("changed.table")} columns={columns} rows={lines} idOf={(d) => d.field} />
        ) : (
          <Text size="sm">{t("changed.elsewhere")}</Text>
        )}
        <Group gap="xs">
          <Button size="xs" onClick={onMine}>
            {t("changed.mine")}
          </Button>
          <Button size="xs" variant="default" onClick={onTheirs}>
            {t("changed.theirs")}
          </Button>
        </Group>
      </Stack>
    </Alert>
  );
}
