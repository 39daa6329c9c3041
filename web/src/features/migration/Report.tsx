import { Anchor, Group, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import type { Schemas } from "../../api/client";
import { inert, number } from "../../lib/format";
import type { Translate } from "../../lib/i18n";
import { Name, Pill, Unknown } from "../../ui/bits";
import { sentence } from "../../ui/faces";
import { type Column, Table } from "../../ui/Table";
import type { Migration } from "./queries";

type Detail = Schemas["MigrationDetail"];

const color: { [action: string]: string } = { migrated: "teal", skipped: "gray", failed: "red" };

function actionText(action: string, happened: boolean, t: Translate<"migration">): string {
  if (action === "migrated") return happened ? t("action.migrated") : t("action.wouldMigrate");
  if (action === "skipped" || action === "failed") return t(`action.${action}`);
  return inert(action, 30);
}

/** What became of each request of version 1, or would become of it. */
export function Report({ of, happened = false }: { of: Migration; happened?: boolean }) {
  const { t, i18n } = useTranslation("migration");
  const columns: Column<Detail>[] = [
    {
      key: "model",
      title: t("model"),
      head: true,
      render: (d) =>
        !d.model_uid ? (
          <Unknown />
        ) : happened && d.action !== "failed" ? (
          <Anchor component={Link} to={`/models/${encodeURIComponent(d.model_uid)}`} size="sm">
            <Name text={d.model_uid} most={63} />
          </Anchor>
        ) : (
          <Name text={d.model_uid} most={63} />
        ),
    },
    { key: "action", title: t("what"), render: (d) => <Pill color={color[d.action] ?? "gray"}>{actionText(d.action, happened, t)}</Pill> },
    { key: "state", title: t("wish"), render: (d) => (d.desired_state ? t(`state.${d.desired_state}`) : <Unknown />) },
    {
      key: "reason",
      title: t("why"),
      render: (d) => (d.reason ? <span className="foreign">{sentence(inert(d.reason, 400))}</span> : <Unknown />),
    },
    { key: "request", title: t("request"), render: (d) => <Name text={d.request_id} mono most={40} /> },
  ];
  const n = (v: number) => number(v, i18n.language);
  return (
    <>
      <Group gap="lg" mb="sm" role="status">
        <Text size="sm">{happened ? t("sum.migrated", { n: n(of.migrated) }) : t("sum.wouldMigrate", { n: n(of.migrated) })}</Text>
        <Text size="sm">{t("sum.skipped", { n: n(of.skipped) })}</Text>
        <Text size="sm">{t("sum.failed", { n: n(of.failed) })}</Text>
      </Group>
      <Table
        label={happened ? t("requestsDone") : t("requests")}
        columns={columns}
        rows={of.details}
        idOf={(d) => d.request_id}
        height={of.details.length > 40 ? "420px" : undefined}
      />
    </>
  );
}
