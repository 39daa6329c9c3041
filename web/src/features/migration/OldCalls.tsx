import { Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { inert, number } from "../../lib/format";
import { Name, Section, Unknown, When } from "../../ui/bits";
import { Faces } from "../../ui/faces";
import { type Column, Table } from "../../ui/Table";
import { type Use, useOldCalls } from "./queries";

/** Who still calls version 1 of the API on this server. */
export function OldCalls() {
  const { t, i18n } = useTranslation("migration");
  const calls = useOldCalls();
  const columns: Column<Use>[] = [
    { key: "who", title: t("calls.who"), head: true, render: (u) => <Name text={u.principal} most={50} /> },
    { key: "agent", title: t("calls.agent"), render: (u) => (u.agent ? <Name text={u.agent} most={40} /> : <Unknown />) },
    { key: "route", title: t("calls.route"), render: (u) => <span className="mono">{inert(u.route, 120)}</span> },
    {
      key: "next",
      title: t("calls.instead"),
      render: (u) => (u.successor ? <span className="mono">{inert(u.successor, 120)}</span> : <Unknown />),
    },
    { key: "calls", title: t("calls.calls"), number: true, render: (u) => number(u.calls, i18n.language) },
    { key: "source", title: t("calls.from"), render: (u) => (u.source ? <Name text={u.source} mono /> : <Unknown />) },
    { key: "last", title: t("calls.last"), render: (u) => <When ms={u.last_ms} /> },
  ];
  return (
    <Section title={t("calls.title")}>
      <Text size="sm" c="dimmed" mb="sm">
        {t("calls.lead")}
      </Text>
      <Faces
        of={{ data: calls.rows, error: calls.error, refresh: calls.refresh }}
        rows={3}
        isEmpty={(r) => r.length === 0}
        empty={<Text size="sm">{t("calls.none")}</Text>}
      >
        {(rows) => (
          <Table
            label={t("calls.table")}
            columns={columns}
            rows={rows}
            idOf={(u) => u.id}
            onEnd={calls.more}
            total={calls.total}
            height={rows.length > 40 ? "480px" : undefined}
          />
        )}
      </Faces>
    </Section>
  );
}
