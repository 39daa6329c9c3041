import { Center, Group, Paper, Stack, Text, Title } from "@mantine/core";
import type { ReactNode } from "react";
import { LanguageMenu, SchemeMenu } from "../../ui/preferences";

/** The frame of the pages for whoever is not logged in. */
export function Frame({ title, lead, children }: { title: string; lead?: string; children: ReactNode }) {
  document.title = `${title} · Nebula`;
  return (
    <Center mih="100vh" p="md" component="main">
      <Paper className="card" p="xl" w="100%" maw={420} shadow="sm">
        <Stack>
          <Group justify="space-between" wrap="nowrap">
            <Group gap={10} wrap="nowrap">
              <img src="/favicon.svg" width={34} height={34} alt="" />
              <Text fw={700} fz="xl">
                Nebula
              </Text>
            </Group>
            <Group gap={6} wrap="nowrap">
              <LanguageMenu />
              <SchemeMenu />
            </Group>
          </Group>
          <div>
            <Title order={1} size="h3">
              {title}
            </Title>
            {lead && (
              <Text c="dimmed" size="sm">
                {lead}
              </Text>
            )}
          </div>
          {children}
        </Stack>
      </Paper>
    </Center>
  );
}
