import { Tabs } from "@mantine/core";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { useWhoami } from "../../domain/session";
import { PageHead } from "../../ui/bits";
import { Faces } from "../../ui/faces";
import { Chat } from "./Chat";
import { Embeddings } from "./Embeddings";
import { NoModels } from "./NoModels";
import "./playground.css";
import { useAnswering } from "./queries";

/** Tries models out: a conversation with one or two of them, and vectors of texts. */
export function PlaygroundPage() {
  const { t } = useTranslation("playground");
  const search = useSearch({ from: "/shell/playground" });
  const navigate = useNavigate();
  const models = useAnswering();
  const who = useWhoami();
  const tab = search.tab ?? "chat";
  return (
    <>
      <PageHead title={t("title")} lead={t("lead")} />
      <Faces of={models} rows={5} empty={<NoModels model={search.model} />} isEmpty={(m) => m.length === 0 && !search.model}>
        {(all) => (
          <Tabs
            value={tab}
            onChange={(v) => navigate({ to: "/playground", search: { ...search, tab: v === "embeddings" ? "embeddings" : undefined } })}
            keepMounted={false}
          >
            <Tabs.List mb="sm">
              <Tabs.Tab value="chat">{t("tab.chat")}</Tabs.Tab>
              <Tabs.Tab value="embeddings">{t("tab.embeddings")}</Tabs.Tab>
            </Tabs.List>
            <Tabs.Panel value="chat">{who.data && <Chat models={all} person={who.data.id} />}</Tabs.Panel>
            <Tabs.Panel value="embeddings">
              <Embeddings models={all} />
            </Tabs.Panel>
          </Tabs>
        )}
      </Faces>
    </>
  );
}
