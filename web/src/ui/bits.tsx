// Small parts that every page uses and that know no noun.
import { Box, Group, Paper, Stack, Text, Title } from "@mantine/core";
import { IconCheck } from "@tabler/icons-react";
import { type ReactNode, useEffect, useState } from "react";
import { copyText } from "../lib/clipboard";
import { useNow } from "../lib/clock";
import { inert, relative } from "../lib/format";
import { spoken } from "../lib/i18n";
import { CopyGlyph } from "./glyphs";

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

/** A time as a distance; the exact one is in the element itself, and its tip. What is past stays past when clocks differ; `future` is for what is to come. */
export function When({ ms, future }: { ms: number | null | undefined; future?: boolean }) {
  const now = useNow();
  if (!ms) return <Unknown />;
  const { language } = spoken();
  return (
    <time className="when" dateTime={new Date(ms).toISOString()}>
      {relative(future ? ms : Math.min(ms, now), now, language)}
    </time>
  );
}

/** Stands where a figure would be that is not known. */
export function Unknown() {
  const { t } = spoken();
  return (
    <span className="dim">
      <span aria-hidden="true">–</span>
      <span className="sr">{t("unknown")}</span>
    </span>
  );
}

/** A button that is only a picture. Its label is also its tip. */
export function IconButton(p: { label: string; onClick: () => void; framed?: boolean; expanded?: boolean; children: ReactNode }) {
  return (
    <button
      type="button"
      className={p.framed ? "icon-button framed" : "icon-button"}
      aria-label={p.label}
      aria-expanded={p.expanded}
      data-tip={p.label}
      onClick={p.onClick}
    >
      {p.children}
    </button>
  );
}

/** Copies a text. What cannot be copied is said in the tip. */
export function Copy({ text, label }: { text: string; label: string }) {
  const { t } = spoken();
  const [done, setDone] = useState<boolean | null>(null);
  useEffect(() => {
    if (done === null) return;
    const timer = setTimeout(() => setDone(null), done ? 1500 : 6000);
    return () => clearTimeout(timer);
  }, [done]);
  return (
    <IconButton
      label={done === null ? label : t(done ? "copied" : "once.byHand")}
      onClick={() => {
        copyText(text).then(setDone);
      }}
    >
      {done ? <IconCheck size={14} /> : <CopyGlyph />}
    </IconButton>
  );
}

/** A name from outside: one line, inert, whole on hover. */
export function Name({ text, mono, most = 80 }: { text: string; mono?: boolean; most?: number }) {
  const shown = inert(text, most);
  return (
    <bdi className={mono ? "mono foreign" : "foreign"} data-name={shown} data-tip={shown === text ? undefined : inert(text, 600)}>
      {shown}
    </bdi>
  );
}

/** A word on a ground of its colour, one of those that the style sheet names. */
export function Pill({ color, children, title }: { color: string; children: ReactNode; title?: string }) {
  return (
    <span className={`pill ${color}`} title={title}>
      {children}
    </span>
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
