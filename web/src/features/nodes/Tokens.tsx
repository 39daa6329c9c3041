import { Button, Text, Title } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { Schemas } from "../../api/client";
import { useLive } from "../../api/live";
import { useNow } from "../../lib/clock";
import { duration } from "../../lib/format";
import { Name } from "../../ui/bits";
import { done, failed } from "../../ui/notify";
import { type Column, Table } from "../../ui/Table";
import { revokeToken } from "./queries";

type Token = Schemas["JoinTokenView"];

/** Join tokens of nodes that are not used yet, which can be taken back; nothing while there are none. */
export function Tokens() {
  const { t, i18n } = useTranslation("nodes");
  const now = useNow();
  const tokens = useLive<Token[]>("/api/v2/tokens");
  const [busy, setBusy] = useState("");
  const rows = (tokens.data ?? []).filter((k) => k.for === "node");
  async function revoke(id: string) {
    setBusy(id);
    try {
      await revokeToken(id);
      done(t("join.revoked"));
    } catch (e) {
      failed(t("failed"), e, t as never);
    }
    setBusy("");
  }
  if (!rows.length) return null;
  const columns: Column<Token>[] = [
    { key: "id", head: true, title: t("column.token"), render: (k) => <Name text={k.id} mono most={24} /> },
    {
      key: "name",
      title: t("column.name"),
      render: (k) => (k.name ? <Name text={k.name} most={32} /> : <Text size="sm">{t("join.any")}</Text>),
    },
    { key: "life", title: t("column.expires"), render: (k) => duration((k.expires_at_ms - now) / 1000, i18n.language) },
    {
      key: "revoke",
      title: <span className="sr">{t("actions")}</span>,
      render: (k) => (
        <Button
          size="compact-xs"
          variant="default"
          loading={busy === k.id}
          onClick={() => revoke(k.id)}
          aria-label={`${t("join.revoke")} ${k.id}`}
        >
          {t("join.revoke")}
        </Button>
      ),
    },
  ];
  return (
    <div>
      <Title order={3} size="h6" mb={4}>
        {t("join.open")}
      </Title>
      <Table label={t("join.open")} columns={columns} rows={rows} idOf={(k) => k.id} />
    </div>
  );
}
