import { Stack, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { bytes, inert } from "../lib/format";
import { Name, Pill, Unknown, When } from "../ui/bits";
import { sentence } from "../ui/faces";
import { type Column, Table } from "../ui/Table";
import type { Pruned } from "./files";

type Line = { key: string; goes: boolean; name: string; what: string; bytes: number | null; used: number; why: string };

/** What goes with a prune and what stays, each with the node's own reason. */
export function PruneList({ told }: { told: Pruned }) {
  const { t, i18n } = useTranslation("cache");
  const lines: Line[] = [
    ...told.removed.map((r, i) => ({
      key: `r${i}`,
      goes: true,
      name: r.model_name,
      what: r.commit ? r.commit.slice(0, 12) : (r.file ?? ""),
      bytes: r.freed_bytes,
      used: r.last_used_ms ?? 0,
      why: r.reason,
    })),
    ...told.kept.map((k, i) => ({
      key: `k${i}`,
      goes: false,
      name: k.model_name,
      what: k.commit.slice(0, 12),
      bytes: null,
      used: k.last_used_ms ?? 0,
      why: k.reason,
    })),
  ];
  const columns: Column<Line>[] = [
    {
      key: "goes",
      title: t("prune.becomes"),
      render: (l) => (
        <Pill color={l.goes ? "red" : "gray"}>{t(l.goes ? (told.dry_run ? "prune.would" : "prune.gone") : "prune.stays")}</Pill>
      ),
    },
    { key: "name", head: true, title: t("column.model"), render: (l) => (l.name ? <Name text={l.name} most={44} /> : <Unknown />) },
    { key: "what", title: t("prune.part"), render: (l) => (l.what ? <Name text={l.what} mono most={28} /> : <Unknown />) },
    { key: "size", title: t("prune.frees"), number: true, render: (l) => (l.bytes === null ? <Unknown /> : bytes(l.bytes, i18n.language)) },
    { key: "used", title: t("column.accessed"), render: (l) => <When ms={l.used} /> },
    { key: "why", title: t("prune.why"), render: (l) => <span className="foreign">{sentence(inert(l.why, 200))}</span> },
  ];
  return (
    <Stack gap="xs">
      <Text size="sm" fw={600} role="status">
        {told.removed.length === 0
          ? t("prune.nothing")
          : t(told.dry_run ? "prune.wouldFree" : "prune.didFree", { size: bytes(told.freed_bytes, i18n.language) })}
      </Text>
      {told.problems?.map((p) => (
        <Text key={p} size="sm" c="var(--mantine-color-error)" className="foreign">
          {sentence(inert(p, 300))}
        </Text>
      ))}
      {lines.length > 0 && (
        <Table
          label={t("prune.table")}
          columns={columns}
          rows={lines}
          idOf={(l) => l.key}
          height={lines.length > 8 ? "320px" : undefined}
        />
      )}
    </Stack>
  );
}
