import { UnstyledButton } from "@mantine/core";
import { inert } from "../../lib/format";
import type { Translate } from "../../lib/i18n";
import { Name, Pill, Unknown, When } from "../../ui/bits";
import type { Column } from "../../ui/Table";
import { type AuditRecord, resultColor } from "./logic";

/** The columns of the log. The number opens the record. */
export function auditColumns(t: Translate<"audit">, open: (seq: number) => void): Column<AuditRecord>[] {
  return [
    {
      key: "seq",
      title: t("seq"),
      width: 80,
      head: true,
      render: (r) => (
        <UnstyledButton fz="sm" c="var(--mantine-color-anchor)" onClick={() => open(r.seq)} aria-label={t("open", { seq: r.seq })}>
          {r.seq}
        </UnstyledButton>
      ),
    },
    { key: "time", title: t("time"), render: (r) => <When ms={r.time_ms} /> },
    {
      key: "actor",
      title: t("actor"),
      render: (r) => (
        <>
          <Name text={r.actor.id || t(`kind.${kindOf(r.actor.kind)}`)} most={50} />
          {r.actor.kind !== "user" && ` · ${t(`kind.${kindOf(r.actor.kind)}`)}`}
        </>
      ),
    },
    { key: "verb", title: t("verb"), render: (r) => <span className="mono">{inert(r.verb, 60)}</span> },
    {
      key: "object",
      title: t("object"),
      render: (r) => (
        <span className="clip audit-object" title={inert(r.object ?? "", 300)}>
          {r.object ? inert(r.object, 200) : <Unknown />}
        </span>
      ),
    },
    {
      key: "result",
      title: t("result"),
      render: (r) => (
        <>
          <Pill color={resultColor[r.result] ?? "gray"}>{resultText(r.result, t)}</Pill>
          {(r.repeated ?? 0) > 0 && ` ×${(r.repeated ?? 0) + 1}`}
        </>
      ),
    },
    { key: "source", title: t("source"), render: (r) => (r.source ? <Name text={r.source} mono /> : <Unknown />) },
  ];
}

const kinds = ["user", "machine", "system", "static", "anonymous"] as const;

/** The kind of an actor; one that this console does not know is taken for a part of the system. */
export function kindOf(kind: string): (typeof kinds)[number] {
  return kinds.find((k) => k === kind) ?? "system";
}

export function resultText(result: string, t: Translate<"audit">): string {
  if (result === "ok" || result === "denied" || result === "failed") return t(`results.${result}`);
  return inert(result, 30);
}
