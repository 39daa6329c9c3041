import { Anchor, Group, Stack, Text } from "@mantine/core";
import { IconCircleCheck } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { type ModelState, nodeColor, stateColor } from "../../domain/status";
import { inert } from "../../lib/format";
import { Name, Pill, Section } from "../../ui/bits";
import { sentence } from "../../ui/faces";
import type { Need } from "./logic";

const shown = 12;

/** What waits for somebody, each with its reason and a way to it. */
export function Needs({ needs, more, alerts }: { needs: Need[]; more: number; alerts: number }) {
  const { t } = useTranslation(["overview", "common"]);
  const rest = Math.max(0, needs.length - shown) + more;
  return (
    <Section title={t("needs.title")}>
      {needs.length === 0 ? (
        <Group gap="xs" c={alerts ? undefined : "dimmed"}>
          {!alerts && <IconCircleCheck size={18} color="var(--mantine-color-teal-filled)" aria-hidden="true" />}
          <Text size="sm">{alerts ? t("needs.alerts", { count: alerts }) : t("needs.nothing")}</Text>
        </Group>
      ) : (
        <Stack component="ul" gap="sm" p={0} m={0} style={{ listStyle: "none" }}>
          {needs.slice(0, shown).map((n) => (
            <NeedLine key={n.key} need={n} />
          ))}
          {rest > 0 && (
            <li>
              <Anchor component={Link} to="/models" search={{ state: "failed" } as never} size="sm">
                {t("needs.more", { count: rest })}
              </Anchor>
            </li>
          )}
        </Stack>
      )}
    </Section>
  );
}

function NeedLine({ need }: { need: Need }) {
  const { t } = useTranslation(["overview", "common"]);
  const model = need.kind === "model";
  return (
    <li>
      <Group gap="xs" wrap="nowrap" align="flex-start">
        <span style={{ flex: "0 0 104px" }}>
          {model ? (
            <Pill color={stateColor[need.state as ModelState]}>{t(`common:state.${need.state as ModelState}`)}</Pill>
          ) : (
            <Pill color={nodeColor[need.state] ?? "gray"}>{t(`common:nodeState.${need.state as "cut_off" | "lost"}`)}</Pill>
          )}
        </span>
        <div style={{ minWidth: 0 }}>
          <Anchor component={Link} to={`/${need.kind}s/${encodeURIComponent(need.id)}`} size="sm" fw={600}>
            <Name text={need.id} most={60} />
          </Anchor>
          <Text size="sm" c="dimmed" className="foreign" lineClamp={3}>
            {model ? sentence(inert(need.text, 400)) : t(`needs.${need.state as "cut_off" | "lost"}`)}
          </Text>
        </div>
      </Group>
    </li>
  );
}
