import { Table, Text } from "@mantine/core";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import type { ModelDetail } from "../../api/models";
import { sourceName } from "../../domain/sources";
import { number } from "../../lib/format";
import { Name, When } from "../../ui/bits";

/** What people have declared: the spec and the wish to run it. Fields that are not set are left out. */
export function Declared({ model: m }: { model: ModelDetail }) {
  const { t, i18n } = useTranslation("detail");
  const n = (x: number | null | undefined) => (x === null || x === undefined ? null : number(x, i18n.language, 2));
  const s = m.spec;
  const d = m.deployment;
  const config = { ...s?.config, ...definedOf(d?.config_overrides) };
  const rows: [string, ReactNode][] = [
    [t("field.model_name"), <Name key="n" text={m.model_name} />],
    [t("field.model_source"), s && (sourceName[s.model_source] ?? t("source.local"))],
    [t("field.model_path"), s?.model_path && <Name key="p" text={s.model_path} mono />],
    [t("field.revision"), s?.revision && <Name key="r" text={s.revision} mono />],
    [t("field.files"), s?.files?.length ? <Name key="f" text={s.files.join(", ")} mono /> : null],
    [t("field.engine_type"), s?.engine_type || m.engine_type],
    [t("field.docker_image"), s?.docker_image && <Name key="i" text={s.docker_image} mono />],
    [t("field.token_secret"), s?.token_secret],
    [t("field.max_model_len"), n(config.max_model_len)],
    [t("field.tensor_parallel_size"), n(config.tensor_parallel_size)],
    [t("field.gpu_memory_utilization"), n(config.gpu_memory_utilization)],
    [t("field.required_vram_mb"), n(config.required_vram_mb)],
    [t("field.lora_modules"), config.lora_modules?.length ? <Name key="l" text={config.lora_modules.join(", ")} mono /> : null],
    [t("field.desired_state"), d && t(`desired.${d.desired_state}`)],
    [t("field.replicas"), n(d?.replicas)],
    [t("field.node_id"), d?.node_affinity && <Name key="a" text={d.node_affinity} mono />],
    [t("field.gpu_indices"), d?.gpu_affinity?.length ? d.gpu_affinity.join(", ") : null],
    [t("field.created"), <When key="c" ms={m.created_at_ms} />],
    [t("field.created_by"), s?.created_by && <Name key="b" text={s.created_by} />],
    [t("field.updated"), <When key="u" ms={m.updated_at_ms} />],
  ];
  return (
    <Table verticalSpacing={4} horizontalSpacing={0} withRowBorders={false} fz="sm">
      <Table.Tbody>
        {rows
          .filter(([, v]) => v !== null && v !== undefined && v !== "")
          .map(([name, value]) => (
            <Table.Tr key={name}>
              <Table.Th scope="row" fw={400} w={150} style={{ verticalAlign: "top" }}>
                <Text size="sm" c="dimmed">
                  {name}
                </Text>
              </Table.Th>
              <Table.Td className="foreign">{value}</Table.Td>
            </Table.Tr>
          ))}
      </Table.Tbody>
    </Table>
  );
}

function definedOf<T extends object>(o: T | null | undefined): Partial<T> {
  return Object.fromEntries(Object.entries(o ?? {}).filter(([, v]) => v !== null && v !== undefined)) as Partial<T>;
}
