import { Anchor, Button, Paper, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { inert } from "../../lib/format";
import { Name, Pill, When } from "../../ui/bits";
import { Empty, Faces, sentence } from "../../ui/faces";
import { type Column, Table } from "../../ui/Table";
import { type ModelEvent, useEvents } from "./queries";

/** What people did with the model, and what Nebula did and why; the newest first. */
export function Events({ uid }: { uid: string }) {
  const { t } = useTranslation("detail");
  const pages = useEvents(uid);
  const columns: Column<ModelEvent>[] = [
    { key: "time", title: t("event.time"), width: 150, render: (e) => <When ms={e.time_ms} /> },
    {
      key: "what",
      title: t("event.what"),
      head: true,
      width: 170,
      render: (e) => (
        <Pill color={e.kind === "change" ? "nebula" : e.verb === "failed" ? "red" : "gray"}>
          <bdi>{inert(e.verb, 40)}</bdi>
        </Pill>
      ),
    },
    { key: "who", title: t("event.who"), width: 150, render: (e) => (e.actor ? <Name text={e.actor.id} most={30} /> : "Nebula") },
    {
      key: "where",
      title: t("event.where"),
      width: 150,
      render: (e) =>
        e.node ? (
          <Anchor component={Link} to={`/nodes/${encodeURIComponent(e.node)}`} size="sm">
            {e.replica !== undefined && `${e.replica} · `}
            <Name text={e.node} most={30} />
          </Anchor>
        ) : null,
    },
    {
      key: "message",
      title: t("event.message"),
      render: (e) => (
        <Text size="sm" className="foreign">
          {sentence(inert(e.message, 1000))}
        </Text>
      ),
    },
  ];
  return (
    <Faces
      of={{ data: pages.rows, error: pages.error, refetch: pages.refresh }}
      isEmpty={(r) => r.length === 0}
      empty={<Empty title={t("event.none")}>{t("event.noneText")}</Empty>}
    >
      {(rows) => (
        <Paper className="card" style={{ overflow: "hidden" }}>
          <Table label={t("tab.events")} columns={columns} rows={rows} idOf={(e) => e.id} />
          {pages.total !== null && rows.length < pages.total && (
            <Button variant="subtle" fullWidth onClick={pages.more}>
              {t("event.more")}
            </Button>
          )}
        </Paper>
      )}
    </Faces>
  );
}
