import { Button, Group, Tabs } from "@mantine/core";
import { IconBoxOff } from "@tabler/icons-react";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { type ModelDetail, useModel } from "../../api/models";
import { StatePill } from "../../domain/ModelBits";
import { useMay } from "../../domain/session";
import { Copy, Name, PageHead } from "../../ui/bits";
import { Empty, Faces } from "../../ui/faces";
import { ModeDot } from "../../ui/ModeDot";
import { Actions } from "./Actions";
import { Events } from "./Events";
import { FiguresTab } from "./FiguresTab";
import { Logs } from "./Logs";
import { Overview } from "./Overview";
import { Replicas } from "./Replicas";
import { type Tab, tabs } from "./search";

/** Everything about one model. */
export function DetailPage() {
  const { t } = useTranslation("detail");
  const { t: common } = useTranslation();
  const { uid } = useParams({ from: "/shell/models/$uid" });
  const model = useModel(uid);
  const missing = model.error?.status === 404;
  if (missing && model.data === undefined) return <Gone uid={uid} title={t("gone.never")} text={t("gone.neverText")} />;
  if (missing || model.data === null) return <Gone uid={uid} title={t("gone.title")} text={t("gone.text")} />;
  return (
    <>
      {!model.data && <PageHead title={uid} />}
      <Faces of={{ data: model.data, error: model.error, refresh: model.refresh }}>
        {(m) => (
          <>
            <PageHead
              title={m.model_uid}
              lead={
                <Group gap="sm" mt={4}>
                  <StatePill state={m.state} t={common} />
                  <span>
                    <Name text={m.model_name} /> <Copy text={m.model_uid} label={t("copyUid")} />
                  </span>
                  <ModeDot mode={model.mode} />
                </Group>
              }
              actions={<Actions model={m} />}
            />
            <Parts key={uid} model={m} />
          </>
        )}
      </Faces>
    </>
  );
}

function Parts({ model: m }: { model: ModelDetail }) {
  const { t } = useTranslation("detail");
  const search = useSearch({ from: "/shell/models/$uid" });
  const navigate = useNavigate({ from: "/models/$uid" });
  const operator = useMay("operator");
  const open = tabs.filter((k) => k !== "logs" || operator);
  const tab = search.tab && open.includes(search.tab) ? search.tab : "overview";
  return (
    <Tabs value={tab} keepMounted={false} onChange={(v) => navigate({ search: v === "overview" ? {} : { tab: v as Tab } })}>
      <Tabs.List mb="md">
        {open.map((k) => (
          <Tabs.Tab key={k} value={k}>
            {t(`tab.${k}`)}
          </Tabs.Tab>
        ))}
      </Tabs.List>
      <Tabs.Panel value="overview">
        <Overview model={m} />
      </Tabs.Panel>
      <Tabs.Panel value="replicas">
        <Replicas model={m} />
      </Tabs.Panel>
      <Tabs.Panel value="figures">
        <FiguresTab uid={m.model_uid} />
      </Tabs.Panel>
      {operator && (
        <Tabs.Panel value="logs">
          <Logs model={m} search={search} />
        </Tabs.Panel>
      )}
      <Tabs.Panel value="events">
        <Events uid={m.model_uid} />
      </Tabs.Panel>
    </Tabs>
  );
}

function Gone({ uid, title, text }: { uid: string; title: string; text: string }) {
  const { t } = useTranslation("detail");
  return (
    <>
      <PageHead title={uid} />
      <Empty
        icon={<IconBoxOff size={40} stroke={1.3} />}
        title={title}
        action={
          <Button component={Link} to="/models">
            {t("gone.models")}
          </Button>
        }
      >
        {text}
      </Empty>
    </>
  );
}
