// Small parts that every page uses and that know no noun.
import { ActionIcon, Badge, Box, CopyButton, Group, Paper, Stack, Text, Title, Tooltip } from "@mantine/core";
import { IconCheck, IconCopy } from "@tabler/icons-react";
import { type ReactNode, useEffect } from "react";
import { useTranslation } from "react-i18next";
import { useNow } from "../lib/clock";
import { exact, inert, relative } from "../lib/format";

/** The head of a page; it also names the page in the browser's tab. */
export function PageHead({
  title,
  lead,
  actions,
  children,
}: {
  title: string;
  lead?: ReactNode;
  actions?: ReactNode;
  children?: ReactNode;
}) {
  useEffect(() => {
    document.title = `${inert(title, 60)} · Nebula`;
  }, [title]);
  return (
    <Stack gap="xs" mb="md">
      <Group justify="space-between" align="flex-start" gap="sm">
        <Box style={{ minWidth: 0, flex: "1 1 16rem" }}>
          <Title order={1} size="h2" className="foreign">
            {inert(title)}
          </Title>
          {lead && (
            <Text c="dimmed" size="sm" component="div">
              {lead}
            </Text>
          )}
        </Box>
        {actions && <Group gap="xs">{actions}</Group>}
      </Group>
      {children}
    </Stack>
  );
}

/** A time as a distance; the exact one is in a tooltip and in the element itself. What is past stays past when clocks differ; `future` is for what is to come. */
export function When({ ms, future }: { ms: number | null | undefined; future?: boolean }) {
  const { i18n } = useTranslation();
  const now = useNow();
  if (!ms) return <Unknown />;
  return (
    <Tooltip label={exact(ms, i18n.language)}>
      <time style={{ whiteSpace: "nowrap" }} dateTime={new Date(ms).toISOString()}>
        {relative(future ? ms : Math.min(ms, now), now, i18n.language)}
      </time>
    </Tooltip>
  );
}

/** Stands where a figure would be that is not known. */
export function Unknown() {
  const { t } = useTranslation();
  return (
    <Text span c="dimmed">
      <span aria-hidden="true">–</span>
      <span className="sr">{t("unknown")}</span>
    </Text>
  );
}

export function Copy({ text, label }: { text: string; label: string }) {
  const { t } = useTranslation();
  return (
    <CopyButton value={text} timeout={1500}>
      {({ copied, copy }) => (
        <Tooltip label={copied ? t("copied") : label}>
          <ActionIcon variant="subtle" color={copied ? "teal" : "gray"} size="sm" onClick={copy} aria-label={copied ? t("copied") : label}>
            {copied ? <IconCheck size={14} /> : <IconCopy size={14} />}
          </ActionIcon>
        </Tooltip>
      )}
    </CopyButton>
  );
}

/** A name from outside: one line, inert, whole on hover. */
export function Name({ text, mono, most = 80 }: { text: string; mono?: boolean; most?: number }) {
  const shown = inert(text, most);
  const body = (
    <bdi className={mono ? "mono foreign" : "foreign"} data-name={shown}>
      {shown}
    </bdi>
  );
  return shown === text ? body : <Tooltip label={inert(text, 600)}>{body}</Tooltip>;
}

export function Pill({ color, children, title }: { color: string; children: ReactNode; title?: string }) {
  return (
    <Badge color={color} title={title}>
      {children}
    </Badge>
  );
}

/** A figure with its name. */
export function Tile({ label, children, hint }: { label: string; children: ReactNode; hint?: ReactNode }) {
  return (
    <Paper className="card" p="md">
      <Text size="sm" c="dimmed">
        {label}
      </Text>
      <Text fz={26} fw={650} component="div" lh={1.25} style={{ fontVariantNumeric: "tabular-nums" }}>
        {children}
      </Text>
      {hint && (
        <Text size="xs" c="dimmed" component="div">
          {hint}
        </Text>
      )}
    </Paper>
  );
}

/** A part of a page with a heading of its own. */
export function Section({ title, actions, children }: { title: string; actions?: ReactNode; children: ReactNode }) {
  return (
    <Paper className="card" p="md" component="section" aria-label={title}>
      <Group justify="space-between" mb="sm">
        <Title order={2} size="h4">
          {title}
        </Title>
        {actions}
      </Group>
      {children}
    </Paper>
  );
}
