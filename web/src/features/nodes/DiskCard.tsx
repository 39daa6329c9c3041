import { Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { diskMarks, diskOf, type NodeView, ratio } from "../../domain/fleet";
import { bytes, number, percent } from "../../lib/format";
import { Copy, Name, Section, When } from "../../ui/bits";
import { Facts } from "../../ui/Facts";
import { Meter } from "../../ui/Meter";

/** The disk of the model files, with the marks at which it warns and at which downloads are refused. */
export function DiskCard({ node: n }: { node: NodeView }) {
  const { t, i18n } = useTranslation("nodes");
  const l = i18n.language;
  const use = diskOf(n.disk);
  if (!n.disk || !use)
    return (
      <Section title={t("section.disk")}>
        <Text size="sm" c="dimmed">
          {t("noDisk")}
        </Text>
      </Section>
    );
  const text = `${percent(ratio(use), l, 1)}, ${t("usedOf", { used: bytes(use.used, l), total: bytes(use.total, l) })}`;
  return (
    <Section title={t("section.disk")}>
      <Meter ratio={ratio(use)} marks={diskMarks} label={t("modelDisk")} text={text} height={16} />
      <Text size="xs" c="dimmed" mt={4} mb="sm" style={{ fontVariantNumeric: "tabular-nums" }}>
        {text} · {t("marks")}
      </Text>
      <Facts
        facts={[
          [
            t("fact.folder"),
            <span key="folder">
              <Name text={n.disk.model_dir} mono most={60} /> <Copy text={n.disk.model_dir} label={t("copyFolder")} />
            </span>,
          ],
          [t("fact.free"), bytes(n.disk.available_bytes, l)],
          [t("fact.models"), bytes(n.disk.model_cache_bytes, l)],
          [t("fact.modelCount"), number(n.disk.model_count, l)],
          [t("fact.updated"), <When key="updated" ms={n.disk.updated_at_ms} />],
        ]}
      />
    </Section>
  );
}
