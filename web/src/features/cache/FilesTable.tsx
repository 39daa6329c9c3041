import { Anchor, Button, Group, Text, TextInput } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { EvictButton } from "../../domain/EvictButton";
import { type Files, type FilesRequest, requestOf } from "../../domain/files";
import { PinButton } from "../../domain/PinButton";
import { useMay } from "../../domain/session";
import { Users } from "../../domain/Users";
import { bytes, inert } from "../../lib/format";
import { Name, Pill, When } from "../../ui/bits";
import { type Column, Table } from "../../ui/Table";
import { sorted } from "./logic";
import { useLookAgain } from "./queries";

/** Each model's files once, with the nodes that have them. */
export function FilesTable({ files, onPull }: { files: Files[]; onPull: (files: FilesRequest, name: string) => void }) {
  const { t, i18n } = useTranslation("cache");
  const may = useMay("operator");
  const [sort, setSort] = useState("-size");
  const [q, setQ] = useState("");
  const columns: Column<Files>[] = [
    {
      key: "model",
      head: true,
      title: t("column.model"),
      sort: "name",
      render: (f) => (
        <Text size="sm" fw={600} component="span">
          <Name text={f.name} most={60} />
        </Text>
      ),
    },
    { key: "size", title: t("column.size"), number: true, sort: "size", render: (f) => bytes(f.bytes, i18n.language) },
    { key: "nodes", title: t("column.nodes"), sort: "nodes", render: (f) => <Nodes files={f} /> },
    { key: "state", title: t("column.state"), render: (f) => <State files={f} /> },
    { key: "users", title: t("column.users"), render: (f) => <Users uids={f.users} /> },
    { key: "accessed", title: t("column.accessed"), sort: "accessed", render: (f) => <When ms={f.accessed} /> },
    ...(may
      ? [{ key: "actions", title: <span className="sr">{t("actions")}</span>, render: (f: Files) => <Deeds files={f} onPull={onPull} /> }]
      : []),
  ];
  const rows = sorted(files, sort, q);
  return (
    <>
      <TextInput
        mb="sm"
        maw={320}
        leftSection={<IconSearch size={16} />}
        aria-label={t("search")}
        placeholder={t("search")}
        value={q}
        onChange={(e) => setQ(e.currentTarget.value)}
      />
      {rows.length === 0 && (
        <Text size="sm" c="dimmed" role="status">
          {t("noneMatch")}
        </Text>
      )}
      {rows.length > 0 && (
        <Table
          label={t("filesTable")}
          columns={columns}
          rows={rows}
          idOf={(f) => f.key}
          sort={sort}
          onSort={setSort}
          height={rows.length > 60 ? "60vh" : undefined}
          rowHeight={57}
        />
      )}
    </>
  );
}

function Nodes({ files: f }: { files: Files }) {
  const { t } = useTranslation("cache");
  return (
    <Group gap={6}>
      {f.entries.slice(0, 3).map((e) => (
        <Anchor key={`${e.node_id} ${e.cache_path}`} component={Link} to={`/nodes/${encodeURIComponent(e.node_id)}`} size="sm">
          <Name text={e.node_id} most={24} />
        </Anchor>
      ))}
      {f.entries.length > 3 && (
        <Text size="xs" c="dimmed" component="span" title={f.entries.map((e) => inert(e.node_id, 40)).join(", ")}>
          {t("more", { count: f.entries.length - 3 })}
        </Text>
      )}
    </Group>
  );
}

function State({ files: f }: { files: Files }) {
  const { t } = useTranslation("cache");
  const n = f.entries.length;
  return (
    <Group gap={4} className="whole">
      <Pill color={f.complete === n ? "teal" : "orange"}>
        {f.complete === n ? t("complete") : n === 1 ? t("incomplete") : t("completeOf", { done: f.complete, count: n })}
      </Pill>
      {f.pinned > 0 && <Pill color="indigo">{f.pinned === n ? t("pinned") : t("pinnedOf", { done: f.pinned, count: n })}</Pill>}
    </Group>
  );
}

function Deeds({ files: f, onPull }: { files: Files; onPull: (files: FilesRequest, name: string) => void }) {
  const { t } = useTranslation("cache");
  const again = useLookAgain();
  const one = f.entries.map(requestOf).find((r) => r !== null);
  if (!one) return null;
  const pinned = f.pinned === f.entries.length;
  const there = f.entries.filter((e) => e.pinned === pinned).map((e) => e.node_id);
  return (
    <Group gap={6} wrap="nowrap" justify="flex-end">
      <Button size="compact-sm" variant="default" onClick={() => onPull(one, f.name)} aria-label={`${t("pullTo")}: ${inert(f.name, 60)}`}>
        {t("pullTo")}
      </Button>
      <PinButton request={{ ...one, node_ids: there }} pinned={pinned} name={f.name} onDone={again} />
      <EvictButton entries={f.entries} onDone={again} />
    </Group>
  );
}
