import { Tabs } from "@mantine/core";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { useWhoami } from "../../domain/session";
import { PageHead } from "../../ui/bits";
import "./access.css";
import { Keys } from "./Keys";
import { tabsOf } from "./logic";
import { Secrets } from "./Secrets";
import { Sessions } from "./Sessions";
import type { Tab } from "./search";
import { Users } from "./Users";

const parts: Record<Tab, () => React.ReactNode> = { users: Users, keys: Keys, sessions: Sessions, secrets: Secrets };

/** Who may use the cluster, and with what. Everybody sees their own keys and sessions; the rest belongs to those who govern. */
export function AccessPage() {
  const { t } = useTranslation("access");
  const search = useSearch({ from: "/shell/access" });
  const navigate = useNavigate();
  const role = useWhoami().data?.role;
  const mine = tabsOf(role);
  const tab = search.tab ?? mine[0]!;
  const Part = parts[tab];
  return (
    <>
      <PageHead title={t("title")} lead={role === "admin" ? t("lead") : t("leadOwn")} />
      <Tabs value={tab} onChange={(v) => navigate({ to: "/access", search: { tab: v as Tab } })}>
        <Tabs.List mb="md">
          {mine.map((key) => (
            <Tabs.Tab key={key} value={key}>
              {t(`tab.${key}`)}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value={tab}>
          <Part />
        </Tabs.Panel>
      </Tabs>
    </>
  );
}
