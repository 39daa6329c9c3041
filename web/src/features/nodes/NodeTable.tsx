import { Anchor, Group, Text, Tooltip } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { gpuKinds, type NodeView } from "../../domain/fleet";
import { DiskMeter, GpuColumns, MemoryMeter, NodeState } from "../../domain/NodeBits";
import { inert, number } from "../../lib/format";
import { Name, Pill, Unknown, When } from "../../ui/bits";
import { type Column, Table } from "../../ui/Table";

/** From here on only what can be seen is drawn. */
const long = 60;

export function NodeTable({ nodes, sort, onSort }: { nodes: NodeView[]; sort: string; onSort: (sort: string) => void }) {
  const { t, i18n } = useTranslation("nodes");
  const columns: Column<NodeView>[] = [
    { key: "id", head: true, title: t("column.node"), sort: "id", render: (n) => <Who node={n} /> },
    { key: "state", title: t("column.state"), sort: "state", render: (n) => <NodeState node={n} /> },
    { key: "gpus", title: t("column.gpus"), width: 180, render: (n) => <Gpus node={n} /> },
    { key: "memory", title: t("column.memory"), sort: "memory_free", width: 150, render: (n) => <MemoryMeter node={n} /> },
    { key: "disk", title: t("column.disk"), sort: "disk_used", width: 150, render: (n) => <DiskMeter disk={n.disk} /> },
    { key: "engines", title: t("column.engines"), render: (n) => <Engines node={n} /> },
    {
      key: "replicas",
      title: t("column.replicas"),
      sort: "replicas",
      number: true,
      render: (n) => number(n.replicas?.length ?? 0, i18n.language),
    },
    {
      key: "heard",
      title: t("column.heard"),
      render: (n) => (
        <Text size="sm" style={{ whiteSpace: "nowrap" }} component="span">
          <When ms={n.last_heartbeat_ms} />
        </Text>
      ),
    },
  ];
  return (
    <div className="card">
      <Table
        label={t("title")}
        columns={columns}
        rows={nodes}
        idOf={(n) => n.node_id}
        sort={sort}
        onSort={onSort}
        height={nodes.length > long ? "calc(100vh - 230px)" : undefined}
        rowHeight={72}
      />
    </div>
  );
}

function Who({ node: n }: { node: NodeView }) {
  return (
    <div style={{ minWidth: 110 }}>
      <Anchor component={Link} to={`/nodes/${encodeURIComponent(n.node_id)}`} fw={600} size="sm">
        <Name text={n.node_id} most={40} />
      </Anchor>
      {n.hostname && n.hostname !== n.node_id && (
        <Text size="xs" c="dimmed" className="clip" maw={150}>
          <Name text={n.hostname} most={40} />
        </Text>
      )}
    </div>
  );
}

function Gpus({ node: n }: { node: NodeView }) {
  return (
    <>
      <GpuColumns node={n} />
      {gpuKinds(n.gpus).map(([name, count]) => (
        <Text key={name} size="xs" c="dimmed" mt={3}>
          {count} × {name ? <Name text={name} most={32} /> : <Unknown />}
        </Text>
      ))}
    </>
  );
}

function Engines({ node: n }: { node: NodeView }) {
  const { t } = useTranslation("nodes");
  const can = (n.engines ?? []).filter((e) => !e.missing);
  if (!n.engines) return <Unknown />;
  if (can.length === 0)
    return (
      <Text size="sm" c="dimmed">
        {t("noEngine")}
      </Text>
    );
  return (
    <Group gap={4} className="whole">
      {can.map((e) => (
        <Tooltip key={e.name} label={inert(`${e.name} ${e.version ?? ""}`, 80)}>
          <span>
            <Pill color="gray">
              {inert(e.name, 20)} {inert(e.version ?? "", 14)}
            </Pill>
          </span>
        </Tooltip>
      ))}
    </Group>
  );
}
