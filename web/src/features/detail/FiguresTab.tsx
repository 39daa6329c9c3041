import { Paper, SimpleGrid, Stack, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { number, percent } from "../../lib/format";
import { Name, Tile, Unknown } from "../../ui/bits";
import { Empty, Faces, sentence } from "../../ui/faces";
import { type Column, Table } from "../../ui/Table";
import { Charts } from "./Charts";
import type { Figures } from "./logic";
import { useFigures } from "./queries";

/** What the engines say of themselves; what they do not say is not shown. */
export function FiguresTab({ uid }: { uid: string }) {
  const { t, i18n } = useTranslation("detail");
  const l = i18n.language;
  const f = useFigures(uid);
  const last = f.points.at(-1);
  const n = (v: number | null | undefined, digits = 0) => (v === null || v === undefined ? <Unknown /> : number(v, l, digits));
  const columns: Column<Figures>[] = [
    {
      key: "id",
      title: t("replica.id"),
      head: true,
      render: (r) => (
        <>
          {r.replica_id}
          <Text size="xs" c="dimmed">
            <Name text={r.node_id} most={40} /> · {r.engine_type}
          </Text>
        </>
      ),
    },
    { key: "running", title: t("figure.running"), number: true, render: (r) => n(r.requests_running) },
    { key: "waiting", title: t("figure.waiting"), number: true, render: (r) => n(r.requests_waiting) },
    {
      key: "kv",
      title: t("figure.kv"),
      number: true,
      render: (r) => (r.kv_used_ratio === undefined ? <Unknown /> : percent(r.kv_used_ratio, l, 1)),
    },
    { key: "read", title: t("figure.readTotal"), number: true, render: (r) => n(r.prompt_tokens_total) },
    { key: "cached", title: t("figure.cachedTotal"), number: true, render: (r) => n(r.prompt_tokens_cached_total) },
    { key: "made", title: t("figure.madeTotal"), number: true, render: (r) => n(r.generation_tokens_total) },
  ];
  return (
    <Faces
      of={{ data: f.now, error: f.error, refetch: f.refetch }}
      isEmpty={(d) => d.replicas.length === 0}
      empty={<Empty title={t("figure.none")}>{t("figure.noneText")}</Empty>}
    >
      {(now) => (
        <Stack>
          <SimpleGrid cols={{ base: 2, md: 4 }}>
            <Tile label={t("figure.made")}>{n(last?.made, 1)}</Tile>
            <Tile label={t("figure.read")}>{n(last?.read, 1)}</Tile>
            <Tile label={t("figure.running")}>{n(last?.running)}</Tile>
            <Tile label={t("figure.waiting")}>{n(last?.waiting)}</Tile>
          </SimpleGrid>
          <Charts points={f.points} />
          <Paper className="card" style={{ overflow: "hidden" }}>
            <Table label={t("figure.table")} columns={columns} rows={now.replicas} idOf={(r) => `${r.replica_id} ${r.node_id}`} />
          </Paper>
          {now.replicas
            .filter((r) => r.failure)
            .map((r) => (
              <Text key={`${r.replica_id} ${r.node_id}`} size="sm" className="foreign" c="dimmed">
                {t("download.replica", { id: r.replica_id })}: {sentence(r.failure!)}
              </Text>
            ))}
        </Stack>
      )}
    </Faces>
  );
}
