import { Anchor, Badge, Group, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useMemo } from "react";
import { useTranslation } from "react-i18next";
import type { ModelView } from "../../api/models";
import { DownloadBar, ReasonText, StatePill } from "../../domain/ModelBits";
import { progressOf } from "../../domain/progress";
import { inert, number } from "../../lib/format";
import { Copy, Name, Unknown, When } from "../../ui/bits";
import type { Column } from "../../ui/Table";
import { type Deed, RowMenu } from "./RowMenu";

/** The columns of the list of models. */
export function useColumns(onDeed: (deed: Deed, uid: string) => void): Column<ModelView>[] {
  const { t, i18n } = useTranslation("models");
  const l = i18n.language;
  return useMemo(
    () => [
      { key: "model", title: t("col.model"), sort: "uid", head: true, width: 250, render: (m) => <Which model={m} copy={t("copyUid")} /> },
      { key: "state", title: t("col.state"), sort: "state", width: 320, render: (m) => <State model={m} /> },
      {
        key: "replicas",
        title: t("col.replicas"),
        sort: "replicas",
        number: true,
        render: (m) => (
          <>
            {t("ready", { ready: number(m.replicas.ready, l), desired: number(m.replicas.desired, l) })}
            {m.replicas.unhealthy > 0 && (
              <Text size="xs" c="var(--mantine-color-red-light-color)">
                {t("unhealthy", { count: m.replicas.unhealthy })}
              </Text>
            )}
          </>
        ),
      },
      { key: "engine", title: t("col.engine"), sort: "engine", render: (m) => m.engine_type ?? <Unknown /> },
      { key: "labels", title: t("col.labels"), render: (m) => <Labels labels={m.labels} /> },
      { key: "updated", title: t("col.updated"), sort: "updated", width: 110, render: (m) => <When ms={m.updated_at_ms} /> },
      { key: "menu", title: <span className="sr">{t("col.menu")}</span>, width: 44, render: (m) => <RowMenu model={m} onDeed={onDeed} /> },
    ],
    [t, l, onDeed],
  );
}

function Which({ model: m, copy }: { model: ModelView; copy: string }) {
  return (
    <div style={{ maxWidth: 260, minWidth: 150 }}>
      <Group gap={2} wrap="nowrap">
        <Anchor component={Link} to="/models/$uid" params={{ uid: m.model_uid } as never} fw={600} size="sm" className="clip">
          <Name text={m.model_uid} most={64} />
        </Anchor>
        <Copy text={m.model_uid} label={copy} />
      </Group>
      <Text size="xs" c="dimmed" className="clip" component="div" title={inert(m.model_name, 600)}>
        <bdi className="foreign">{inert(m.model_name, 80)}</bdi>
      </Text>
    </div>
  );
}

function State({ model: m }: { model: ModelView }) {
  const progress = progressOf(m.downloads);
  return (
    <Group gap="xs" wrap="nowrap" style={{ maxWidth: 340 }}>
      <span style={{ flex: "none" }}>
        <StatePill state={m.state} />
      </span>
      <div style={{ minWidth: 0, flex: 1 }}>
        {progress ? <DownloadBar progress={progress} /> : m.reason && <ReasonText reason={m.reason} line />}
      </div>
    </Group>
  );
}

function Labels({ labels }: { labels: ModelView["labels"] }) {
  const { t } = useTranslation("models");
  const all = Object.entries(labels ?? {}).map(([k, v]) => inert(v ? `${k}=${v}` : k, 60));
  if (all.length === 0) return null;
  return (
    <Group gap={4} wrap="nowrap" title={all.join("\n")}>
      <Badge color="gray" variant="default" fw={500} maw={140} style={{ flex: "none" }}>
        {all[0]}
      </Badge>
      {all.length > 1 && (
        <Text size="xs" c="dimmed" aria-label={t("moreLabels", { count: all.length - 1 })}>
          +{all.length - 1}
        </Text>
      )}
    </Group>
  );
}
