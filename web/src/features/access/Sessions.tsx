import { Button, Group, Text } from "@mantine/core";
import { IconDevices } from "@tabler/icons-react";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useMay } from "../../domain/session";
import { Name, Pill, Unknown, When } from "../../ui/bits";
import { Confirm } from "../../ui/Confirm";
import { Empty } from "../../ui/faces";
import { done } from "../../ui/notify";
import type { Column } from "../../ui/Table";
import { ListCard } from "./ListCard";
import { agentOf, listPath, orderOf, type Session } from "./logic";
import { endSession, useSessions } from "./queries";
import { UserFilter } from "./UserFilter";

/** Where people are logged in. */
export function Sessions() {
  const { t } = useTranslation("access");
  const search = useSearch({ from: "/shell/access" });
  const navigate = useNavigate();
  const admin = useMay("admin");
  const sort = orderOf("sessions", search.sort, "-created");
  const sessions = useSessions(listPath("sessions", sort, { name: "user", value: search.user }));
  const [ending, end] = useState<Session | null>(null);
  const columns: Column<Session>[] = [
    {
      key: "agent",
      title: t("sessions.where"),
      head: true,
      render: (s) => (
        <Group gap={8} wrap="nowrap">
          <Agent agent={s.user_agent} />
          {s.current && <Pill color="teal">{t("sessions.current")}</Pill>}
          {s.external && <Pill color="blue">{t("users.provider")}</Pill>}
        </Group>
      ),
    },
    ...(admin ? [{ key: "user", title: t("sessions.user"), sort: "user", render: (s: Session) => <Name text={s.user} most={64} /> }] : []),
    { key: "source", title: t("sessions.source"), render: (s) => (s.source ? <Name text={s.source} mono /> : <Unknown />) },
    { key: "created", title: t("sessions.since"), sort: "created", render: (s) => <When ms={s.created_at_ms} /> },
    { key: "expires", title: t("sessions.until"), sort: "expires", render: (s) => <When ms={s.expires_at_ms} future /> },
    {
      key: "do",
      title: <span className="sr">{t("actions")}</span>,
      width: 110,
      render: (s) =>
        s.current ? null : (
          <Button size="compact-sm" variant="default" onClick={() => end(s)}>
            {t("sessions.end")}
          </Button>
        ),
    },
  ];
  return (
    <>
      <ListCard
        label={t("tab.sessions")}
        pages={sessions}
        columns={columns}
        idOf={(s) => s.id}
        sort={sort}
        onSort={(s) => navigate({ to: "/access", search: { ...search, sort: s } })}
        empty={<Empty icon={<IconDevices size={40} stroke={1.3} />} title={t("sessions.none")} />}
        filter={admin && <UserFilter value={search.user} onChange={(user) => navigate({ to: "/access", search: { ...search, user } })} />}
      />
      {ending && (
        <Confirm
          title={t("sessions.endTitle", { user: ending.user })}
          action={t("sessions.end")}
          danger
          onConfirm={async () => {
            await endSession(ending.id);
            done(t("sessions.ended"));
          }}
          onClose={() => end(null)}
        >
          <Text size="sm">{t("sessions.endHint")}</Text>
        </Confirm>
      )}
    </>
  );
}

function Agent({ agent }: { agent?: string }) {
  const { t } = useTranslation("access");
  if (!agent) return <Unknown />;
  const known = agentOf(agent);
  if (!known) return <Name text={agent} most={50} />;
  return <span title={agent}>{known.system ? t("sessions.on", known) : known.browser}</span>;
}
