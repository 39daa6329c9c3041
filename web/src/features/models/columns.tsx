import { useMemo } from "react";
import { useTranslation } from "react-i18next";
import type { ModelView } from "../../api/models";
import { DownloadBar, ReasonLine, StatePill } from "../../domain/ModelBits";
import { ModelLink } from "../../domain/ModelLink";
import { progressOf } from "../../domain/progress";
import { inert, number } from "../../lib/format";
import type { Translate } from "../../lib/i18n";
import { Copy, Name, Unknown, When } from "../../ui/bits";
import type { Column } from "../../ui/Table";
import { type Deed, ModelMenu } from "./ModelMenu";

/** The columns of the list of models. */
export function useColumns(onDeed: (deed: Deed, uid: string) => void): Column<ModelView>[] {
  const { t, i18n } = useTranslation("models");
  const { t: common } = useTranslation();
  const l = i18n.language;
  return useMemo(
    () => [
      { key: "model", title: t("col.model"), sort: "uid", head: true, width: 220, render: (m) => <Which model={m} copy={t("copyUid")} /> },
      { key: "state", title: t("col.state"), sort: "state", width: 300, render: (m) => <State model={m} t={common} /> },
      {
        key: "replicas",
        title: t("col.replicas"),
        sort: "replicas",
        number: true,
        width: 100,
        render: (m) => (
          <>
            <span>{t("ready", { ready: number(m.replicas.ready, l), desired: number(m.replicas.desired, l) })}</span>
            {m.replicas.unhealthy > 0 && <span className="bad small">{t("unhealthy", { count: m.replicas.unhealthy })}</span>}
          </>
        ),
      },
      { key: "engine", title: t("col.engine"), sort: "engine", width: 90, render: (m) => m.engine_type ?? <Unknown /> },
      { key: "labels", title: t("col.labels"), width: 120, render: (m) => <Labels labels={m.labels} t={t} /> },
      { key: "updated", title: t("col.updated"), sort: "updated", width: 110, render: (m) => <When ms={m.updated_at_ms} /> },
      {
        key: "menu",
        title: <span className="sr">{t("col.menu")}</span>,
        width: 48,
        render: (m) => <ModelMenu model={m} label={t("menuOf", { uid: m.model_uid })} onDeed={onDeed} />,
      },
    ],
    [t, common, l, onDeed],
  );
}

function Which({ model: m, copy }: { model: ModelView; copy: string }) {
  return (
    <>
      <div className="line" style={{ gap: 2 }}>
        <ModelLink uid={m.model_uid}>
          <Name text={m.model_uid} most={64} />
        </ModelLink>
        <Copy text={m.model_uid} label={copy} />
      </div>
      <div className="dim small clip" title={inert(m.model_name, 600)}>
        <bdi className="foreign">{inert(m.model_name, 80)}</bdi>
      </div>
    </>
  );
}

function State({ model: m, t }: { model: ModelView; t: Translate }) {
  const progress = progressOf(m.downloads);
  return (
    <div className="line">
      <StatePill state={m.state} t={t} />
      <div className="rest">{progress ? <DownloadBar progress={progress} /> : m.reason && <ReasonLine reason={m.reason} t={t} />}</div>
    </div>
  );
}

function Labels({ labels, t }: { labels: ModelView["labels"]; t: Translate<"models"> }) {
  const all = Object.entries(labels ?? {}).map(([k, v]) => inert(v ? `${k}=${v}` : k, 60));
  if (all.length === 0) return null;
  return (
    <div className="line" style={{ gap: 4 }} title={all.join("\n")}>
      <span className="pill plain">{all[0]}</span>
      {all.length > 1 && (
        <span className="dim small">
          <span aria-hidden="true">+{all.length - 1}</span>
          <span className="sr">{t("moreLabels", { count: all.length - 1 })}</span>
        </span>
      )}
    </div>
  );
}
