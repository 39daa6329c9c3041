import { Anchor, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { type Gpu, gpuMemoryOf, type NodeView } from "../../domain/fleet";
import { UseMeter } from "../../domain/NodeBits";
import { number } from "../../lib/format";
import { Name, Section, Unknown } from "../../ui/bits";
import { Meter } from "../../ui/Meter";
import { type Column, Table } from "../../ui/Table";
import { holders } from "./logic";

export function Gpus({ node: n }: { node: NodeView }) {
  const { t, i18n } = useTranslation("nodes");
  const l = i18n.language;
  const held = holders(n);
  const columns: Column<Gpu>[] = [
    { key: "gpu", head: true, title: "GPU", render: (g) => <b>{g.index}</b> },
    { key: "name", title: t("fact.kind"), render: (g) => (g.name ? <Name text={g.name} most={50} /> : <Unknown />) },
    {
      key: "memory",
      title: t("gpuMemory"),
      width: "24%",
      render: (g) => <UseMeter use={gpuMemoryOf([g])} label={t("gpuMemoryOf", { index: g.index })} />,
    },
    {
      key: "busy",
      title: t("gpuBusy"),
      width: "20%",
      render: (g) =>
        g.utilization_gpu === undefined ? (
          <Unknown />
        ) : (
          <>
            <Meter
              ratio={g.utilization_gpu / 100}
              label={t("gpuBusyOf", { index: g.index })}
              text={`${number(g.utilization_gpu, l)} %`}
              height={8}
            />
            <Text size="xs" c="dimmed" mt={3} aria-hidden="true">
              {number(g.utilization_gpu, l)} %
            </Text>
          </>
        ),
    },
    {
      key: "temperature",
      title: t("gpuTemperature"),
      number: true,
      render: (g) => (g.temperature_c === undefined ? <Unknown /> : t("degrees", { celsius: number(g.temperature_c, l) })),
    },
    {
      key: "holder",
      title: t("gpuHolder"),
      render: (g) => {
        const h = held.get(g.index);
        return h ? (
          <Anchor component={Link} to={`/models/${encodeURIComponent(h.uid)}`} size="sm">
            {h.uid}/{h.replica}
          </Anchor>
        ) : (
          <Text size="sm" c="dimmed">
            {t("free")}
          </Text>
        );
      },
    },
  ];
  return (
    <Section title={t("section.gpus")}>
      {n.gpus.length === 0 ? (
        <Text size="sm" c="dimmed">
          {t("noGpus")}
        </Text>
      ) : (
        <Table label={t("gpuTable")} columns={columns} rows={n.gpus} idOf={(g) => String(g.index)} />
      )}
    </Section>
  );
}
