// Files on their way to nodes, with what has come and what keeps the rest.
import { Anchor, Button, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { bytes, duration, inert, number, percent } from "../lib/format";
import { Name, Pill, Unknown, When } from "../ui/bits";
import { sentence } from "../ui/faces";
import { Meter } from "../ui/Meter";
import { done, failed } from "../ui/notify";
import { type Column, Table } from "../ui/Table";
import { byUrgency, cancelPull, isUnderWay, type Pull } from "./files";
import { useMay } from "./session";

const colors: Record<Pull["state"], string> = {
  waiting: "gray",
  downloading: "blue",
  verifying: "indigo",
  complete: "teal",
  failed: "red",
  away: "orange",
};

export function Pulls({ pulls, withNode }: { pulls: Pull[]; withNode?: boolean }) {
  const { t } = useTranslation("cache");
  const may = useMay("operator");
  const columns: Column<Pull>[] = [
    { key: "model", head: true, title: t("column.model"), render: (p) => <Name text={p.spec.model_name} most={60} /> },
    ...(withNode
      ? [
          {
            key: "node",
            title: t("column.node"),
            render: (p: Pull) => (
              <Anchor component={Link} to={`/nodes/${encodeURIComponent(p.node_id)}`} size="sm">
                <Name text={p.node_id} most={32} />
              </Anchor>
            ),
          },
        ]
      : []),
    {
      key: "state",
      title: t("column.state"),
      render: (p) => (
        <span className="whole">
          <Pill color={colors[p.state]}>{t(`pullState.${p.state}`)}</Pill>
        </span>
      ),
    },
    { key: "progress", title: t("column.progress"), width: "36%", render: (p) => <Progress pull={p} /> },
    { key: "since", title: t("column.asked"), render: (p) => <When ms={p.created_at_ms} /> },
    ...(may ? [{ key: "cancel", title: <span className="sr">{t("actions")}</span>, render: (p: Pull) => <Cancel pull={p} /> }] : []),
  ];
  return <Table label={t("pullTable")} columns={columns} rows={byUrgency(pulls)} idOf={(p) => `${p.node_id}/${p.pull_id}`} />;
}

function Progress({ pull }: { pull: Pull }) {
  const { t, i18n } = useTranslation("cache");
  const l = i18n.language;
  const p = pull.progress;
  if (pull.state === "failed")
    return (
      <Text size="sm" className="foreign" lineClamp={3}>
        {p?.failure ? sentence(inert(p.failure.message, 400)) : <Unknown />}
      </Text>
    );
  if (!p || p.total_bytes === 0)
    return (
      <Text size="sm" c="dimmed">
        {t(pull.state === "away" ? "awayHint" : pull.state === "complete" ? "allHere" : "notBegun")}
      </Text>
    );
  const text = [
    percent(p.downloaded_bytes / p.total_bytes, l),
    t("of", { done: bytes(p.downloaded_bytes, l), total: bytes(p.total_bytes, l) }),
    p.files_total > 0 && t("files", { done: number(p.files_done, l), count: p.files_total }),
    isUnderWay(pull) && p.speed_bytes_per_sec > 0 && t("speed", { speed: bytes(p.speed_bytes_per_sec, l) }),
    isUnderWay(pull) && p.eta_seconds > 0 && t("left", { time: duration(p.eta_seconds, l) }),
  ]
    .filter(Boolean)
    .join(" · ");
  return (
    <>
      <Meter
        ratio={p.downloaded_bytes / p.total_bytes}
        label={t("progressOf", { name: inert(pull.spec.model_name, 60) })}
        text={text}
        height={6}
      />
      <Text size="xs" c="dimmed" mt={3} aria-hidden="true" style={{ fontVariantNumeric: "tabular-nums" }}>
        {text}
      </Text>
      {p.last_error && isUnderWay(pull) && (
        <Text size="xs" className="foreign" lineClamp={2}>
          {sentence(inert(p.last_error, 300))}
        </Text>
      )}
    </>
  );
}

/** Takes a pull back. One that has ended is only forgotten: the files stay. */
function Cancel({ pull }: { pull: Pull }) {
  const { t } = useTranslation(["cache", "common"]);
  const [busy, setBusy] = useState(false);
  const word = isUnderWay(pull) ? t("common:cancel") : t("forget");
  async function cancel() {
    setBusy(true);
    try {
      await cancelPull(pull);
      done(t("cancelled", { name: inert(pull.spec.model_name, 60) }));
    } catch (e) {
      failed(t("notCancelled"), e, t as never);
    }
    setBusy(false);
  }
  return (
    <Button
      size="compact-sm"
      variant="default"
      loading={busy}
      onClick={cancel}
      aria-label={`${word}: ${inert(pull.spec.model_name, 60)}, ${inert(pull.node_id, 40)}`}
    >
      {word}
    </Button>
  );
}
