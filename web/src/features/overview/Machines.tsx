import { Anchor, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import type { NodeView } from "../../domain/fleet";
import { DiskMeter, GpuColumns, MemoryMeter, NodeState } from "../../domain/NodeBits";
import { number } from "../../lib/format";
import { Name, Section } from "../../ui/bits";
import { type Column, Table } from "../../ui/Table";
import { drawn } from "./logic";

const most = 12;

/** GPUs, memory and disk of each machine as a picture, which screen readers read as meters in a table. */
export function Machines({ nodes }: { nodes: NodeView[] }) {
  const { t, i18n } = useTranslation("overview");
  const columns: Column<NodeView>[] = [
    {
      key: "node",
      head: true,
      title: t("machines.node"),
      render: (n) => (
        <Anchor component={Link} to={`/nodes/${encodeURIComponent(n.node_id)}`} fw={600} size="sm">
          <Name text={n.node_id} most={40} />
        </Anchor>
      ),
    },
    { key: "state", title: t("machines.state"), render: (n) => <NodeState node={n} /> },
    { key: "gpus", title: t("machines.gpus"), width: 176, render: (n) => <GpuColumns node={n} /> },
    { key: "memory", title: t("machines.memory"), width: "22%", render: (n) => <MemoryMeter node={n} /> },
    { key: "disk", title: t("machines.disk"), width: "22%", render: (n) => <DiskMeter disk={n.disk} /> },
    { key: "replicas", title: t("machines.replicas"), number: true, render: (n) => number(n.replicas?.length ?? 0, i18n.language) },
  ];
  return (
    <Section
      title={t("machines.title")}
      actions={
        nodes.length > most && (
          <Anchor component={Link} to="/nodes" size="sm">
            {t("machines.all", { count: nodes.length })}
          </Anchor>
        )
      }
    >
      {nodes.length === 0 ? (
        <Text size="sm" c="dimmed">
          {t("machines.none")}{" "}
          <Anchor component={Link} to="/nodes">
            {t("machines.toNodes")}
          </Anchor>
        </Text>
      ) : (
        <>
          <Table label={t("machines.table")} columns={columns} rows={drawn(nodes, most)} idOf={(n) => n.node_id} />
          <Legend />
        </>
      )}
    </Section>
  );
}

function Legend() {
  const { t } = useTranslation("overview");
  return (
    <Text size="xs" c="dimmed" mt="xs">
      {t("machines.legend")}
    </Text>
  );
}
