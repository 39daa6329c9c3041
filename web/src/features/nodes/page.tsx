import { Anchor, Button, Group, Select, Text, TextInput } from "@mantine/core";
import { IconPlus, IconSearch, IconServer2 } from "@tabler/icons-react";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { useLive } from "../../api/live";
import type { NodeView } from "../../domain/fleet";
import { useMay } from "../../domain/session";
import { PageHead } from "../../ui/bits";
import { Empty, Faces } from "../../ui/faces";
import { JoinDialog } from "./JoinDialog";
import { chosen } from "./logic";
import { NodeTable } from "./NodeTable";
import { listPath, nodeStates, type Search, type Shown } from "./search";

/** The machines that run engines. */
export function NodesPage() {
  const { t } = useTranslation("nodes");
  const s: Search = useSearch({ from: "/shell/nodes" });
  const admin = useMay("admin");
  const [joining, setJoining] = useState(false);
  const live = useLive<NodeView[]>(listPath(s));
  const kept = useRef(live.data); // in another order until the new one has come
  useEffect(() => {
    if (live.data) kept.current = live.data;
  }, [live.data]);
  const add = admin && (
    <Button leftSection={<IconPlus size={16} />} onClick={() => setJoining(true)}>
      {t("add")}
    </Button>
  );
  return (
    <>
      <PageHead title={t("title")} lead={t("lead")} actions={add} />
      <Faces
        of={{ ...live, data: live.data ?? kept.current }}
        isEmpty={(nodes) => nodes.length === 0}
        empty={
          <Empty icon={<IconServer2 size={40} stroke={1.4} />} title={t("empty")} action={add}>
            {admin ? t("emptyHint") : t("emptyViewer")}
          </Empty>
        }
      >
        {(nodes) => <List nodes={nodes} s={s} />}
      </Faces>
      {joining && <JoinDialog onClose={() => setJoining(false)} />}
    </>
  );
}

function List({ nodes, s }: { nodes: NodeView[]; s: Search }) {
  const { t } = useTranslation(["nodes", "common"]);
  const navigate = useNavigate({ from: "/nodes" });
  const go = (change: Partial<Search>) => navigate({ search: (before: Search) => ({ ...before, ...change }), replace: true });
  const rows = chosen(nodes, s);
  const words = (state: Shown) =>
    state === "cordoned" ? t("cordoned") : state === "draining" ? t("draining") : t(`common:nodeState.${state}`);
  return (
    <>
      <Group mb="sm" gap="sm">
        <TextInput
          leftSection={<IconSearch size={16} />}
          aria-label={t("search")}
          placeholder={t("search")}
          value={s.q ?? ""}
          onChange={(e) => go({ q: e.currentTarget.value || undefined })}
          w={280}
        />
        <Select
          aria-label={t("state")}
          placeholder={t("anyState")}
          clearable
          data={nodeStates.map((value) => ({ value, label: words(value) }))}
          value={s.state ?? null}
          onChange={(v) => go({ state: (v as Shown) ?? undefined })}
          w={160}
        />
        <Text size="sm" c="dimmed" role="status">
          {rows.length === nodes.length ? t("count", { count: nodes.length }) : t("countOf", { count: rows.length, total: nodes.length })}
        </Text>
      </Group>
      {rows.length === 0 ? (
        <Empty
          title={t("noneMatch")}
          action={
            <Anchor component="button" type="button" onClick={() => go({ q: undefined, state: undefined })}>
              {t("clear")}
            </Anchor>
          }
        >
          {t("noneMatchHint")}
        </Empty>
      ) : (
        <NodeTable nodes={rows} sort={s.sort ?? "id"} onSort={(sort) => go({ sort: sort === "id" ? undefined : sort })} />
      )}
    </>
  );
}
