import { Anchor, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import type { NodeView } from "../../domain/fleet";
import { endpointColor } from "../../domain/status";
import { Name, Pill, Section } from "../../ui/bits";
import { type Column, Table } from "../../ui/Table";

type Replica = NonNullable<NodeView["replicas"]>[number];

export function Replicas({ node: n }: { node: NodeView }) {
  const { t } = useTranslation(["nodes", "common"]);
  const columns: Column<Replica>[] = [
    {
      key: "model",
      head: true,
      title: t("column.model"),
      render: (r) => (
        <Anchor component={Link} to={`/models/${encodeURIComponent(r.model_uid)}`} size="sm" fw={600}>
          <Name text={r.model_uid} most={48} />
        </Anchor>
      ),
    },
    { key: "replica", title: t("column.replica"), number: true, render: (r) => r.replica_id },
    {
      key: "status",
      title: t("column.status"),
      render: (r) => <Pill color={endpointColor[r.status] ?? "gray"}>{t(`common:endpointStatus.${r.status}`)}</Pill>,
    },
    { key: "gpus", title: t("column.gpus"), render: (r) => (r.gpu_indices?.length ? r.gpu_indices.join(", ") : t("cpuOnly")) },
  ];
  return (
    <Section title={t("section.replicas")}>
      {n.replicas?.length ? (
        <Table label={t("replicaTable")} columns={columns} rows={n.replicas} idOf={(r) => `${r.model_uid}/${r.replica_id}`} />
      ) : (
        <Text size="sm" c="dimmed">
          {t("noReplicas")}
        </Text>
      )}
    </Section>
  );
}
