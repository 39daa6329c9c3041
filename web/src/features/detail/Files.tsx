import { Anchor, Paper, Stack, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import type { Schemas } from "../../api/client";
import type { ModelDetail } from "../../api/models";
import { DownloadBar } from "../../domain/ModelBits";
import { type Download, progressOf } from "../../domain/progress";
import { bytes, inert, number } from "../../lib/format";
import { Name, Pill, Section, When } from "../../ui/bits";
import { ErrorNote, sentence } from "../../ui/faces";
import { type Column, Table } from "../../ui/Table";
import { useCacheOf } from "./queries";

type Entry = Schemas["CacheEntryView"];

const phaseColor = { downloading: "blue", verifying: "indigo", complete: "teal", failed: "red" } as const;

/** How the files come to the nodes, and where they are. */
export function Files({ model: m }: { model: ModelDetail }) {
  const { t, i18n } = useTranslation("detail");
  const l = i18n.language;
  const downloads = m.download_progress?.replicas ?? [];
  const cache = useCacheOf(m.model_uid);
  const entries = cache.data ?? [];
  const columns: Column<Entry>[] = [
    {
      key: "node",
      title: t("replica.node"),
      head: true,
      render: (e) => (
        <Anchor component={Link} to={`/nodes/${encodeURIComponent(e.node_id)}`} size="sm">
          <Name text={e.node_id} most={40} />
        </Anchor>
      ),
    },
    { key: "size", title: t("cache.size"), number: true, render: (e) => bytes(e.size_bytes, l) },
    { key: "files", title: t("cache.files"), number: true, render: (e) => number(e.file_count, l) },
    {
      key: "complete",
      title: t("cache.whole"),
      render: (e) => <Pill color={e.complete ? "teal" : "orange"}>{t(e.complete ? "cache.complete" : "cache.partial")}</Pill>,
    },
    { key: "used", title: t("cache.used"), render: (e) => <When ms={e.last_accessed_ms} /> },
    { key: "path", title: t("cache.path"), render: (e) => <Name text={e.cache_path} mono most={60} /> },
  ];
  return (
    <>
      {downloads.length > 0 && (
        <Section title={t("download.title")}>
          <Stack gap="sm">
            {downloads.map((d) => (
              <OneDownload key={`${d.replica_id} ${d.node_id}`} download={d} />
            ))}
          </Stack>
        </Section>
      )}
      {cache.error && <ErrorNote error={cache.error} retry={() => cache.refetch()} />}
      {entries.length > 0 && (
        <Section title={t("cache.title")}>
          <Paper style={{ overflow: "hidden" }}>
            <Table label={t("cache.title")} columns={columns} rows={entries} idOf={(e) => `${e.node_id} ${e.cache_path}`} />
          </Paper>
        </Section>
      )}
    </>
  );
}

function OneDownload({ download: d }: { download: Download }) {
  const { t, i18n } = useTranslation("detail");
  const l = i18n.language;
  const progress = progressOf([d]);
  const facts = [
    d.files_total > 0 && t("download.files", { done: number(d.files_done, l), total: number(d.files_total, l) }),
    d.source && t("download.source", { source: inert(d.source, 60) }),
    d.peer_bytes ? t("download.peer", { size: bytes(d.peer_bytes, l) }) : null,
    d.reused_bytes ? t("download.reused", { size: bytes(d.reused_bytes, l) }) : null,
    d.retries ? t("download.retries", { count: d.retries }) : null,
  ].filter(Boolean);
  return (
    <Stack gap={4}>
      <Text size="sm" component="div">
        {t("download.replica", { id: d.replica_id })} <Name text={d.node_id} most={40} />{" "}
        <Pill color={phaseColor[d.phase]}>{t(`phase.${d.phase}`)}</Pill>
      </Text>
      {progress && <DownloadBar progress={progress} eta={d.eta_seconds > 0 ? d.eta_seconds : undefined} />}
      {facts.length > 0 && (
        <Text size="xs" c="dimmed" className="foreign">
          {facts.join(" · ")}
        </Text>
      )}
      {d.last_error && (
        <Text size="sm" className="foreign" c="var(--mantine-color-red-light-color)">
          {sentence(inert(d.last_error, 600))}
        </Text>
      )}
    </Stack>
  );
}
