import { Group, Stack, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { NodeView } from "../../domain/fleet";
import { inert } from "../../lib/format";
import { Name, Pill, Section } from "../../ui/bits";
import { sentence } from "../../ui/faces";

/** The engines that the machine can start, and what is missing for the others. */
export function Engines({ node: n }: { node: NodeView }) {
  const { t } = useTranslation("nodes");
  const engines = [...(n.engines ?? [])].sort((a, b) => Number(!!a.missing) - Number(!!b.missing));
  return (
    <Section title={t("section.engines")}>
      {engines.length === 0 && (
        <Text size="sm" c="dimmed">
          {t("noEngines")}
        </Text>
      )}
      <Stack gap="sm" component="ul" m={0} p={0} style={{ listStyle: "none" }}>
        {engines.map((e) => (
          <li key={e.name}>
            <Group gap="xs">
              <Text size="sm" fw={600} component="span">
                {inert(e.name, 40)}
              </Text>
              {e.missing ? <Pill color="gray">{t("engineMissing")}</Pill> : <Pill color="teal">{inert(e.version || "?", 40)}</Pill>}
            </Group>
            {e.missing ? (
              <details>
                <summary className="summary">{t("engineWhy")}</summary>
                <Text size="xs" c="dimmed" className="foreign" mt={4}>
                  {sentence(inert(e.missing, 1000))}
                </Text>
              </details>
            ) : (
              e.path && (
                <Text size="xs" c="dimmed" component="div">
                  <Name text={e.path} mono most={80} />
                </Text>
              )
            )}
          </li>
        ))}
      </Stack>
    </Section>
  );
}
