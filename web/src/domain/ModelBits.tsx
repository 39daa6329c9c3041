// How a model's state and downloads are shown, wherever that is.
import { Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { Schemas } from "../api/client";
import { bytes, duration, inert, percent } from "../lib/format";
import type { Translate } from "../lib/i18n";
import { Pill } from "../ui/bits";
import { sentence } from "../ui/faces";
import type { Progress } from "./progress";
import { reasonTitle } from "./reason";
import { type ModelState, stateColor } from "./status";

type Reason = Schemas["Reason"];

export function StatePill({ state, t }: { state: ModelState; t: Translate }) {
  return <Pill color={stateColor[state]}>{t(`state.${state}`)}</Pill>;
}

/** A reason: its title, and what the server says of it. */
export function ReasonText({ reason }: { reason: Reason }) {
  const { t } = useTranslation();
  const text = sentence(inert(reason.message, 2000));
  return (
    <Text size="sm" c="dimmed" component="div" className="foreign">
      <Text span inherit fw={600} c="var(--mantine-color-text)">
        {reasonTitle(reason.code, t)}
      </Text>
      {text && ` · ${text}`}
    </Text>
  );
}

/** A reason on one line: it is clipped, with all of it in a tooltip of the browser. */
export function ReasonLine({ reason, t }: { reason: Reason; t: Translate }) {
  const text = sentence(inert(reason.message, 2000));
  return (
    <div className="dim small clip" title={text}>
      <b>{reasonTitle(reason.code, t)}</b>
      {text && ` · ${text}`}
    </div>
  );
}

/** A download under way: how much of how much, how fast, how long still. */
export function DownloadBar({ progress: p, eta }: { progress: Progress; eta?: number }) {
  const { t, i18n } = useTranslation();
  const l = i18n.language;
  const ratio = p.done / p.total;
  const text = [
    percent(ratio, l),
    t("download.bytes", { done: bytes(p.done, l), total: bytes(p.total, l) }),
    p.verifying ? t("download.verifying") : p.speed > 0 ? t("download.speed", { speed: bytes(p.speed, l) }) : null,
    eta !== undefined && !p.verifying ? t("download.eta", { eta: duration(eta, l) }) : null,
  ]
    .filter(Boolean)
    .join(" · ");
  return (
    <>
      <progress className="bar" value={ratio} aria-label={t("download.label")} aria-valuetext={text} />
      <div className="dim small clip figures">{text}</div>
    </>
  );
}
