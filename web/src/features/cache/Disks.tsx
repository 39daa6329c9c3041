import { Anchor } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { type Disk, diskOf, ratio } from "../../domain/fleet";
import { DiskMeter } from "../../domain/NodeBits";
import { bytes, number } from "../../lib/format";
import { Name, When } from "../../ui/bits";
import { type Column, Table } from "../../ui/Table";

/** The disks that hold the caches, the fullest first. */
export function Disks({ disks }: { disks: Disk[] }) {
  const { t, i18n } = useTranslation("cache");
  const l = i18n.language;
  const full = (d: Disk) => {
    const use = diskOf(d);
    return use ? ratio(use) : 0;
  };
  const columns: Column<Disk>[] = [
    {
      key: "node",
      head: true,
      title: t("column.node"),
      render: (d) => (
        <Anchor component={Link} to={`/nodes/${encodeURIComponent(d.node_id)}`} size="sm" fw={600}>
          <Name text={d.node_id} most={40} />
        </Anchor>
      ),
    },
    { key: "folder", title: t("column.folder"), render: (d) => <Name text={d.model_dir} mono most={48} /> },
    { key: "disk", title: t("column.disk"), width: "26%", render: (d) => <DiskMeter disk={d} /> },
    { key: "free", title: t("column.free"), number: true, render: (d) => bytes(d.available_bytes, l) },
    { key: "cache", title: t("column.take"), number: true, render: (d) => bytes(d.model_cache_bytes, l) },
    { key: "models", title: t("column.models"), number: true, render: (d) => number(d.model_count, l) },
    { key: "updated", title: t("column.updated"), render: (d) => <When ms={d.updated_at_ms} /> },
  ];
  return (
    <Table
      label={t("diskTable")}
      columns={columns}
      rows={[...disks].sort((a, b) => full(b) - full(a))}
      idOf={(d) => d.node_id}
      height={disks.length > 30 ? "420px" : undefined}
      rowHeight={57}
    />
  );
}
