import { Group, Text, Tooltip } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { number } from "../../lib/format";
import { Unknown } from "../../ui/bits";
import { figuresOf } from "./chat";
import type { Turn } from "./lane";

/** What was measured of an answer in this browser, and what the engine counted. */
export function FiguresLine({ turn }: { turn: Turn }) {
  const { t, i18n } = useTranslation("playground");
  const f = figuresOf(turn.times, turn.usage?.completion);
  const n = (v: number | undefined, digits = 0) => (v === undefined ? <Unknown /> : number(v, i18n.language, digits));
  const parts = [
    { key: "tokens", name: t("figures.tokens"), value: n(turn.usage?.completion), how: t("figures.tokensHow") },
    { key: "prompt", name: t("figures.prompt"), value: n(turn.usage?.prompt), how: t("figures.promptHow") },
    {
      key: "speed",
      name: t("figures.speed"),
      value: n(f.perSecond, f.perSecond !== undefined && f.perSecond < 10 ? 1 : 0),
      how: t("figures.speedHow"),
    },
    {
      key: "ttft",
      name: t("figures.ttft"),
      value:
        f.ttft === undefined ? (
          <Unknown />
        ) : f.ttft < 1000 ? (
          `${number(f.ttft, i18n.language)} ms`
        ) : (
          `${number(f.ttft / 1000, i18n.language, 2)} s`
        ),
      how: t("figures.ttftHow"),
    },
  ];
  return (
    <Group gap="md" component="dl" m={0}>
      {turn.state === "stopped" && (
        <Text size="xs" c="dimmed" fw={600}>
          {t("stopped")}
        </Text>
      )}
      {parts.map((p) => (
        <Tooltip key={p.key} label={p.how}>
          {/* The tooltip tells how the figure came about, also to the keyboard. */}
          <Group gap={5} tabIndex={0} wrap="nowrap">
            <Text size="xs" c="dimmed" component="dt">
              {p.name}
            </Text>
            <Text size="xs" component="dd" m={0} fw={600} style={{ fontVariantNumeric: "tabular-nums" }}>
              {p.value}
            </Text>
          </Group>
        </Tooltip>
      ))}
    </Group>
  );
}
