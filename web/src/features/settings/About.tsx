import { Anchor, Group, Stack, Text } from "@mantine/core";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { inert } from "../../lib/format";
import { Copy, Section, When } from "../../ui/bits";
import { Faces } from "../../ui/faces";
import { useCluster, useVersion } from "./queries";

/** What this Nebula is, and where its API is described. */
export function About({ viewer }: { viewer: boolean }) {
  const { t } = useTranslation("settings");
  return (
    <Section title={t("about.title")}>
      <Stack gap="sm">
        {viewer && <Facts />}
        <Group gap="lg">
          <Anchor href="/api/docs" size="sm" target="_blank" rel="noopener">
            {t("about.docs")}
          </Anchor>
          <Anchor href="/api/openapi.json" size="sm" target="_blank" rel="noopener">
            {t("about.openapi")}
          </Anchor>
        </Group>
      </Stack>
    </Section>
  );
}

function Facts() {
  const { t } = useTranslation("settings");
  const version = useVersion();
  const cluster = useCluster();
  return (
    <>
      <Faces of={version} rows={1}>
        {(v) => (
          <Line name={t("about.version")}>
            Nebula {inert(v.version)} · {inert(v.go_version)} · {inert(v.platform)}
          </Line>
        )}
      </Faces>
      <Faces of={cluster} rows={1}>
        {(c) => (
          <>
            <Line name={t("about.cluster")}>
              <span className="mono">{inert(c.id)}</span> <Copy text={c.id} label={t("about.copy")} />
            </Line>
            <Line name={t("about.made")}>
              <When ms={c.created_at_ms} />
            </Line>
          </>
        )}
      </Faces>
    </>
  );
}

function Line({ name, children }: { name: string; children: ReactNode }) {
  return (
    <Group gap="sm" wrap="nowrap" align="baseline">
      <Text size="sm" c="dimmed" w={110} style={{ flex: "none" }}>
        {name}
      </Text>
      <Text size="sm" component="div" className="foreign">
        {children}
      </Text>
    </Group>
  );
}
