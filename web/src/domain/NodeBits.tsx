// How a node's state and resources look wherever nodes are shown.
import { Group, Text, Tooltip } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { bytes, number, percent } from "../lib/format";
import { Pill, Unknown } from "../ui/bits";
import { Meter } from "../ui/Meter";
import { type Disk, diskMarks, diskOf, type Gpu, heldGpus, memoryOf, mib, type NodeView, ratio, type Use } from "./fleet";
import { nodeColor } from "./status";

/** Whether the node reports, and what people have said of it. */
export function NodeState({ node }: { node: NodeView }) {
  const { t } = useTranslation(["nodes", "common"]);
  return (
    <Group gap={4} className="whole">
      <Pill color={nodeColor[node.state] ?? "gray"}>{t(`common:nodeState.${node.state}`)}</Pill>
      {node.drained ? (
        <Pill color="gray">{t("drained")}</Pill>
      ) : node.draining ? (
        <Pill color="grape">{t("draining")}</Pill>
      ) : (
        node.cordoned && <Pill color="gray">{t("cordoned")}</Pill>
      )}
    </Group>
  );
}

/** What is used of something, as a bar with its figures below. */
export function UseMeter({ use, label, marks }: { use: Use | null; label: string; marks?: number[] }) {
  const { t, i18n } = useTranslation(["nodes", "common"]);
  if (!use) return <Unknown />;
  const l = i18n.language;
  const figures = t("usedOf", { used: bytes(use.used, l), total: bytes(use.total, l) });
  return (
    <div style={{ minWidth: 90 }}>
      <Meter ratio={ratio(use)} marks={marks} label={label} text={`${percent(ratio(use), l)}, ${figures}`} height={8} />
      <Text size="xs" c="dimmed" mt={3} aria-hidden="true" style={{ fontVariantNumeric: "tabular-nums", whiteSpace: "nowrap" }}>
        {figures}
      </Text>
    </div>
  );
}

export function DiskMeter({ disk }: { disk: Disk | undefined }) {
  const { t } = useTranslation(["nodes", "common"]);
  return <UseMeter use={diskOf(disk)} label={t("modelDisk")} marks={diskMarks} />;
}

export function MemoryMeter({ node }: { node: NodeView }) {
  const { t } = useTranslation(["nodes", "common"]);
  return <UseMeter use={memoryOf(node)} label={t("memory")} />;
}

/** Each GPU as a small column that is as full as its memory; a dot says that a replica holds it. */
export function GpuColumns({ node }: { node: NodeView }) {
  const { t } = useTranslation(["nodes", "common"]);
  if (node.gpus.length === 0)
    return (
      <Text size="sm" c="dimmed">
        {t("noGpu")}
      </Text>
    );
  const held = heldGpus(node);
  return (
    <Group gap={5} wrap="wrap" style={{ minWidth: Math.min(8, node.gpus.length) * 19 }}>
      {node.gpus.map((g) => (
        <GpuColumn key={g.index} gpu={g} held={held.has(g.index)} />
      ))}
    </Group>
  );
}

function GpuColumn({ gpu, held }: { gpu: Gpu; held: boolean }) {
  const { t } = useTranslation(["nodes", "common"]);
  const words = useGpuWords();
  const full = gpu.memory_total_mb > 0 ? Math.min(1, gpu.memory_used_mb / gpu.memory_total_mb) : 0;
  const label = t("gpuNumber", { index: gpu.index });
  const text = words(gpu, held);
  return (
    <Tooltip label={`${label}: ${text}`}>
      <span
        role="meter"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(full * 100)}
        aria-valuetext={text}
        className="gpu"
        data-held={held}
      >
        <span style={{ height: `${full * 100}%` }} />
      </span>
    </Tooltip>
  );
}

/** What is known of a GPU, in one line. */
export function useGpuWords() {
  const { t, i18n } = useTranslation(["nodes", "common"]);
  const l = i18n.language;
  return (g: Gpu, held: boolean) =>
    [
      g.name,
      g.memory_total_mb > 0 && t("usedOf", { used: bytes(g.memory_used_mb * mib, l), total: bytes(g.memory_total_mb * mib, l) }),
      g.utilization_gpu !== undefined && t("busy", { percent: number(g.utilization_gpu, l) }),
      g.temperature_c !== undefined && t("degrees", { celsius: number(g.temperature_c, l) }),
      held ? t("held") : t("free"),
    ]
      .filter(Boolean)
      .join(" · ");
}
