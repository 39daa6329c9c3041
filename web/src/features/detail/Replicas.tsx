import { Anchor, Button, Paper, Stack, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ModelDetail } from "../../api/models";
import { reasonTitle } from "../../domain/reason";
import { useMay } from "../../domain/session";
import { endpointColor } from "../../domain/status";
import { inert, number } from "../../lib/format";
import { Name, Pill, Unknown, When } from "../../ui/bits";
import { Confirm } from "../../ui/Confirm";
import { Empty, sentence } from "../../ui/faces";
import { done } from "../../ui/notify";
import { type Column, Table } from "../../ui/Table";
import { Files } from "./Files";
import { type Replica, replicasOf } from "./logic";
import { drainReplica } from "./queries";

/** The replicas, what brings their files, and where those are kept. */
export function Replicas({ model: m }: { model: ModelDetail }) {
  const { t, i18n } = useTranslation(["detail", "common"]);
  const operator = useMay("operator");
  const [draining, setDraining] = useState<Replica | null>(null);
  const rows = replicasOf(m);
  const columns: Column<Replica>[] = [
    { key: "id", title: t("replica.id"), head: true, width: 80, render: (r) => r.id },
    {
      key: "node",
      title: t("replica.node"),
      render: (r) => (
        <Anchor component={Link} to={`/nodes/${encodeURIComponent(r.node)}`} size="sm">
          <Name text={r.node} most={40} />
        </Anchor>
      ),
    },
    {
      key: "status",
      title: t("replica.status"),
      render: (r) => <Status replica={r} />,
    },
    { key: "gpus", title: t("replica.gpus"), render: (r) => (r.gpus?.length ? r.gpus.join(", ") : t("replica.cpu")) },
    { key: "age", title: t("replica.started"), render: (r) => <When ms={r.endpoint?.started_at_ms} /> },
    {
      key: "restarts",
      title: t("replica.restarts"),
      number: true,
      render: (r) => (r.endpoint ? number(r.endpoint.restarts ?? 0, i18n.language) : <Unknown />),
    },
    {
      key: "drain",
      title: <span className="sr">{t("replica.actions")}</span>,
      render: (r) =>
        operator &&
        !r.draining && (
          <Button size="compact-xs" variant="default" onClick={() => setDraining(r)} aria-label={t("replica.drainOf", { id: r.id })}>
            {t("replica.drain")}
          </Button>
        ),
    },
  ];
  return (
    <Stack>
      <Paper className="card" style={{ overflow: "hidden" }}>
        {rows.length === 0 ? (
          <Empty title={t("replica.none")}>
            {t(m.deployment?.desired_state === "running" ? "replica.noneYet" : "replica.noneStopped")}
          </Empty>
        ) : (
          <Table label={t("tab.replicas")} columns={columns} rows={rows} idOf={(r) => `${r.id} ${r.node}`} />
        )}
      </Paper>
      <Files model={m} />
      {draining && (
        <Confirm
          title={t("replica.drainTitle", { id: draining.id })}
          action={t("replica.drain")}
          onClose={() => setDraining(null)}
          onConfirm={async () => {
            await drainReplica(m.model_uid, draining.id);
            done(t("replica.drained", { id: draining.id }));
          }}
        >
          <Text size="sm">{t("replica.drainText")}</Text>
        </Confirm>
      )}
    </Stack>
  );
}

function Status({ replica: r }: { replica: Replica }) {
  const { t, i18n } = useTranslation(["detail", "common"]);
  const { t: common } = useTranslation();
  const e = r.endpoint;
  if (!e) return <Pill color={r.draining ? "grape" : "gray"}>{t(r.draining ? "common:endpointStatus.draining" : "replica.planned")}</Pill>;
  return (
    <Stack gap={2} align="flex-start">
      <Pill color={endpointColor[e.status] ?? "gray"}>
        {t(`common:endpointStatus.${e.status}`)}
        {e.status === "starting" && e.loaded_percent !== undefined && ` ${number(e.loaded_percent, i18n.language)} %`}
      </Pill>
      {e.failure && (
        <Text size="xs" c="dimmed" className="foreign" maw={420}>
          <b>{reasonTitle(e.failure.code, common)}</b> · {sentence(inert(e.failure.message, 600))}
          {e.failure.retry_at_ms && !e.failure.final ? (
            <>
              {" "}
              · {t("replica.retry")} <time>{new Date(e.failure.retry_at_ms).toLocaleTimeString(i18n.language)}</time>
            </>
          ) : null}
        </Text>
      )}
    </Stack>
  );
}
