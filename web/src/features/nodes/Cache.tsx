import { Button, Group, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { EvictButton } from "../../domain/EvictButton";
import { type Entry, requestOf, useNodeCache, usePulls } from "../../domain/files";
import type { NodeView } from "../../domain/fleet";
import { PinButton } from "../../domain/PinButton";
import { PruneDialog } from "../../domain/PruneDialog";
import { PullDialog } from "../../domain/PullDialog";
import { Pulls } from "../../domain/Pulls";
import { useMay } from "../../domain/session";
import { Users } from "../../domain/Users";
import { bytes, number } from "../../lib/format";
import { Name, Pill, Section, When } from "../../ui/bits";
import { ErrorNote, Loading } from "../../ui/faces";
import { type Column, Table } from "../../ui/Table";
import { VerifyDialog } from "./VerifyDialog";

type Dialog = "pull" | "prune" | { verify: string } | null;

/** What the node's cache holds, and what is on its way there. */
export function Cache({ node: n }: { node: NodeView }) {
  const { t } = useTranslation(["cache", "nodes"]);
  const may = useMay("operator");
  const cache = useNodeCache(n.node_id);
  const pulls = usePulls(n.node_id);
  const [dialog, setDialog] = useState<Dialog>(null);
  const close = () => setDialog(null);
  return (
    <Section
      title={t("nodes:section.cache")}
      actions={
        may && (
          <Group gap="xs">
            <Button size="xs" variant="default" onClick={() => setDialog("pull")}>
              {t("pullHere")}
            </Button>
            <Button size="xs" variant="default" onClick={() => setDialog({ verify: "" })}>
              {t("verify.open")}
            </Button>
            <Button size="xs" variant="default" onClick={() => setDialog("prune")}>
              {t("prune.open")}
            </Button>
          </Group>
        )
      }
    >
      <Stack>
        {cache.error && <ErrorNote error={cache.error} retry={cache.refresh} />}
        {!!pulls.data?.length && <Pulls pulls={pulls.data} />}
        {cache.data ? <Entries entries={cache.data} onVerify={(verify) => setDialog({ verify })} /> : !cache.error && <Loading rows={2} />}
      </Stack>
      {dialog === "pull" && <PullDialog node={n.node_id} onClose={close} />}
      {dialog === "prune" && <PruneDialog nodes={[n.node_id]} onClose={close} />}
      {dialog !== null && typeof dialog === "object" && <VerifyDialog node={n.node_id} model={dialog.verify} onClose={close} />}
    </Section>
  );
}

function Entries({ entries, onVerify }: { entries: Entry[]; onVerify: (model: string) => void }) {
  const { t, i18n } = useTranslation("cache");
  const l = i18n.language;
  const may = useMay("operator");
  if (entries.length === 0)
    return (
      <Text size="sm" c="dimmed">
        {t("emptyNode")}
      </Text>
    );
  const columns: Column<Entry>[] = [
    {
      key: "model",
      head: true,
      title: t("column.model"),
      render: (e) => (
        <>
          <Text size="sm" fw={600}>
            <Name text={e.model_name} most={60} />
          </Text>
          <Text size="xs" c="dimmed">
            <Name text={e.cache_path} mono most={70} />
          </Text>
        </>
      ),
    },
    { key: "size", title: t("column.size"), number: true, render: (e) => bytes(e.size_bytes, l) },
    { key: "files", title: t("column.files"), number: true, render: (e) => number(e.file_count, l) },
    {
      key: "state",
      title: t("column.state"),
      render: (e) => (
        <Group gap={4}>
          <Pill color={e.complete ? "teal" : "orange"}>{e.complete ? t("complete") : t("incomplete")}</Pill>
          {e.pinned && <Pill color="indigo">{t("pinned")}</Pill>}
        </Group>
      ),
    },
    { key: "users", title: t("column.users"), render: (e) => <Users uids={e.matched_model_uids ?? []} /> },
    { key: "accessed", title: t("column.accessed"), render: (e) => <When ms={e.last_accessed_ms} /> },
    ...(may
      ? [
          {
            key: "actions",
            title: <span className="sr">{t("actions")}</span>,
            render: (e: Entry) => {
              const request = requestOf(e);
              return (
                <Group gap={6} wrap="nowrap" justify="flex-end">
                  <Button size="compact-sm" variant="default" onClick={() => onVerify(e.model_name)}>
                    {t("verify.one")}
                  </Button>
                  {request && <PinButton request={request} pinned={e.pinned} name={e.model_name} />}
                  <EvictButton entries={[e]} />
                </Group>
              );
            },
          },
        ]
      : []),
  ];
  return <Table label={t("entryTable")} columns={columns} rows={entries} idOf={(e) => `${e.model_name} ${e.cache_path}`} />;
}
