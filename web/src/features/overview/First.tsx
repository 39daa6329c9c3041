import { Anchor, SimpleGrid, Text, Title } from "@mantine/core";
import { IconFolder, IconSearch, IconTemplate } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { useMay } from "../../domain/session";
import { Section } from "../../ui/bits";

const ways = [
  { key: "template", icon: IconTemplate, to: "/templates", search: {} },
  { key: "hub", icon: IconSearch, to: "/new", search: { from: "hub" } },
  { key: "local", icon: IconFolder, to: "/new", search: { from: "manual" } },
] as const;

/** Where there is no model yet: three ways to the first one. */
export function First() {
  const { t } = useTranslation("overview");
  const may = useMay("operator");
  return (
    <Section title={t("first.title")}>
      <Text size="sm" c="dimmed" mb="md">
        {may ? t("first.lead") : t("first.viewer")}
      </Text>
      {may && (
        <SimpleGrid cols={{ base: 1, sm: 3 }}>
          {ways.map((w) => (
            <div key={w.key} className="card" style={{ padding: 16 }}>
              <w.icon size={26} stroke={1.6} aria-hidden="true" color="var(--mantine-primary-color-filled)" />
              <Title order={3} size="h5" mt={6}>
                <Anchor component={Link} to={w.to} search={w.search as never} inherit>
                  {t(`first.${w.key}.title`)}
                </Anchor>
              </Title>
              <Text size="sm" c="dimmed">
                {t(`first.${w.key}.text`)}
              </Text>
            </div>
          ))}
        </SimpleGrid>
      )}
    </Section>
  );
}
