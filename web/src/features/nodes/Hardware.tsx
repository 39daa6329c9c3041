import { useTranslation } from "react-i18next";
import type { NodeView } from "../../domain/fleet";
import { MemoryMeter } from "../../domain/NodeBits";
import { number } from "../../lib/format";
import { Name, Section } from "../../ui/bits";
import { Facts } from "../../ui/Facts";

export function Hardware({ node: n }: { node: NodeView }) {
  const { t, i18n } = useTranslation("nodes");
  const name = (text: string | undefined) => text && <Name text={text} most={70} />;
  return (
    <Section title={t("section.hardware")}>
      <Facts
        facts={[
          [t("fact.host"), name(n.hostname)],
          [t("fact.cpu"), name(n.cpu_model)],
          [t("fact.cores"), n.cpus && number(n.cpus, i18n.language)],
          [t("fact.memory"), <MemoryMeter key="memory" node={n} />],
          [t("fact.system"), name([n.os, n.arch].filter(Boolean).join(" / "))],
          [t("fact.version"), name(n.version)],
          ...(n.api_addr ? [[t("fact.address"), name(n.api_addr)] as [string, React.ReactNode]] : []),
        ]}
      />
    </Section>
  );
}
