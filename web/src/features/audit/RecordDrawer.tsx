import { Alert, Drawer, Stack, Text, Title } from "@mantine/core";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { exact, inert } from "../../lib/format";
import { Copy, Unknown } from "../../ui/bits";
import { Faces } from "../../ui/faces";
import { kindOf, resultText } from "./columns";
import { type AuditRecord, byDocument, shown } from "./logic";
import { useRecord } from "./queries";

/** One record, with what it changed. */
export function RecordDrawer({ seq, onClose }: { seq: number; onClose: () => void }) {
  const { t } = useTranslation("audit");
  const { t: common } = useTranslation();
  const record = useRecord(seq);
  return (
    <Drawer
      opened
      onClose={onClose}
      position="right"
      size="lg"
      title={t("record", { seq })}
      closeButtonProps={{ "aria-label": common("close") }}
    >
      <Faces of={record} rows={5}>
        {(r) => (
          <Stack gap="lg">
            <Facts record={r} />
            <Changes record={r} />
          </Stack>
        )}
      </Faces>
    </Drawer>
  );
}

function Facts({ record: r }: { record: AuditRecord }) {
  const { t, i18n } = useTranslation("audit");
  const { t: common } = useTranslation();
  const role = (["inference", "viewer", "operator", "admin"] as const).find((x) => x === r.actor.role);
  const facts: [string, ReactNode][] = [
    [t("time"), exact(r.time_ms, i18n.language)],
    [t("actor"), `${inert(r.actor.id, 100)} · ${t(`kind.${kindOf(r.actor.kind)}`)}${role ? ` · ${common(`role.${role}`)}` : ""}`],
    ...(r.actor.key_id ? ([[t("key"), inert(r.actor.key_id)]] as [string, ReactNode][]) : []),
    [t("source"), r.source ? inert(r.source) : <Unknown key="s" />],
    [t("verb"), inert(r.verb)],
    [t("object"), r.object ? inert(r.object, 500) : <Unknown key="o" />],
    [t("result"), `${resultText(r.result, t)}${r.code ? ` · ${r.code}` : ""}`],
    ...(r.repeated ? ([[t("repeated"), t("repeatedText", { count: r.repeated })]] as [string, ReactNode][]) : []),
    [t("request"), r.request_id ? inert(r.request_id) : <Unknown key="r" />],
    [
      t("hash"),
      <span key="h" className="mono">
        {r.hash} <Copy text={r.hash} label={t("chain.copy")} />
      </span>,
    ],
    [t("prevHash"), r.prev_hash || t("first")],
  ];
  return (
    <dl style={{ margin: 0 }}>
      {facts.map(([name, value]) => (
        <div className="audit-change" key={name}>
          <Text component="dt" size="sm" c="dimmed">
            {name}
          </Text>
          <Text component="dd" size="sm" m={0} className="foreign">
            {value}
          </Text>
        </div>
      ))}
    </dl>
  );
}

function Changes({ record }: { record: AuditRecord }) {
  const { t } = useTranslation("audit");
  const groups = byDocument(record.changes);
  if (groups.length === 0)
    return (
      <Text size="sm" c="dimmed">
        {t("noChanges")}
      </Text>
    );
  return (
    <Stack gap="md">
      {record.truncated && <Alert color="orange">{t("truncated")}</Alert>}
      {groups.map((g) => (
        <section key={g.document} aria-label={inert(g.document)}>
          <Title order={3} size="h5" className="foreign">
            {inert(g.document, 200)}
          </Title>
          {g.changes.map((c) => (
            <div className="audit-change" key={c.field}>
              <span className="mono foreign">{c.field ? inert(c.field, 200) : t("whole")}</span>
              <span>
                {shown(c.before) !== "" && <del className="foreign">{inert(shown(c.before), 2000)}</del>}
                {shown(c.after) !== "" && <ins className="foreign">{inert(shown(c.after), 2000)}</ins>}
                {shown(c.before) === "" && shown(c.after) === "" && <Unknown />}
              </span>
            </div>
          ))}
        </section>
      ))}
    </Stack>
  );
}
