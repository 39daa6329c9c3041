import { Anchor, Group, Stack, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import type { ModelView } from "../../api/models";
import { stateColor } from "../../domain/status";
import { bytes, inert, percent } from "../../lib/format";
import { Name, Pill, Section } from "../../ui/bits";
import { sentence } from "../../ui/faces";
import { Meter } from "../../ui/Meter";
import { progressOf } from "./logic";

/** What is under way by itself: downloads with their bytes, starts and stops with what they wait for. */
export function Changing({ models, more }: { models: ModelView[]; more: number }) {
  const { t } = useTranslation(["overview", "common"]);
  return (
    <Section title={t("changing.title")}>
      {models.length === 0 ? (
        <Text size="sm" c="dimmed">
          {t("changing.nothing")}
        </Text>
      ) : (
        <Stack component="ul" gap="sm" p={0} m={0} style={{ listStyle: "none" }}>
          {models.slice(0, 12).map((m) => (
            <Line key={m.model_uid} model={m} />
          ))}
          {models.length + more > 12 && (
            <li>
              <Anchor component={Link} to="/models" size="sm">
                {t("changing.more", { count: models.length + more - 12 })}
              </Anchor>
            </li>
          )}
        </Stack>
      )}
    </Section>
  );
}

function Line({ model: m }: { model: ModelView }) {
  const { t, i18n } = useTranslation(["overview", "common"]);
  const l = i18n.language;
  const p = progressOf(m);
  const text =
    p &&
    [
      percent(p.done / p.total, l),
      t("tiles.ofBytes", { used: bytes(p.done, l), total: bytes(p.total, l) }),
      p.speed > 0 && t("changing.speed", { speed: bytes(p.speed, l) }),
    ]
      .filter(Boolean)
      .join(" · ");
  return (
    <li>
      <Group gap="xs" wrap="nowrap" align="flex-start">
        <span style={{ flex: "0 0 108px" }}>
          <Pill color={stateColor[m.state]}>{t(`common:state.${m.state}`)}</Pill>
        </span>
        <div style={{ minWidth: 0, flex: 1 }}>
          <Anchor component={Link} to={`/models/${encodeURIComponent(m.model_uid)}`} size="sm" fw={600}>
            <Name text={m.model_uid} most={60} />
          </Anchor>
          {p && text ? (
            <Stack gap={4} mt={4}>
              <Meter ratio={p.done / p.total} label={t("changing.progress")} text={text} height={6} />
              <Text size="xs" c="dimmed" style={{ fontVariantNumeric: "tabular-nums" }}>
                {text}
              </Text>
            </Stack>
          ) : (
            m.reason && (
              <Text size="sm" c="dimmed" className="foreign" lineClamp={2}>
                {sentence(inert(m.reason.message, 300))}
              </Text>
            )
          )}
        </div>
      </Group>
    </li>
  );
}
