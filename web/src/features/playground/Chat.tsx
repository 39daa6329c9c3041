import { ActionIcon, Button, Drawer, Group, Paper, Tooltip } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconAdjustmentsHorizontal, IconCode, IconColumns2, IconColumnsOff, IconTrash } from "@tabler/icons-react";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { Composer } from "./Composer";
import { exampleOf, requestOf } from "./chat";
import { conversationOf, useSettings, useTurns } from "./conversation";
import { LanePane } from "./LanePane";
import { Parameters } from "./Parameters";
import type { Answering } from "./queries";
import { Snippets } from "./Snippets";

/** A conversation with one model, or with two side by side that get the same prompts. */
export function Chat({ models, person }: { models: Answering[]; person: string }) {
  const { t } = useTranslation("playground");
  const { t: common } = useTranslation();
  const search = useSearch({ from: "/shell/playground" });
  const navigate = useNavigate();
  const talk = conversationOf(person);
  const settings = useSettings(talk);
  const [draft, setDraft] = useState("");
  const [tuning, tune] = useDisclosure();
  const [code, showCode] = useDisclosure();
  const first = useTurns(talk.lanes[0]);
  const second = useTurns(talk.lanes[1]);
  const compares = search.with !== undefined;
  const chosen = [search.model ?? models[0]?.id, search.with];
  const lanes = compares ? talk.lanes : [talk.lanes[0]];
  const busy = lanes.some((l) => l.busy);
  const empty = first.length === 0 && (!compares || second.length === 0);

  const choose = (i: number, model: string) => navigate({ to: "/playground", search: { ...search, [i === 0 ? "model" : "with"]: model } });
  function compare() {
    talk.lanes[1].clear();
    const other = models.find((m) => m.id !== chosen[0])?.id ?? chosen[0];
    navigate({ to: "/playground", search: { ...search, model: chosen[0], with: compares ? undefined : other } });
  }
  function send(text: string) {
    lanes.forEach((lane, i) => {
      const model = chosen[i];
      if (model) lane.send(model, settings, text);
    });
    setDraft("");
  }
  function edit() {
    const prompts = lanes.map((l) => l.takeBack());
    setDraft(prompts.find((p) => p !== undefined) ?? "");
  }

  const parameters = <Parameters settings={settings} onChange={talk.set} />;
  return (
    <Group align="stretch" gap="md" wrap="nowrap">
      <Paper className="card talk" flex={1}>
        <div className={compares ? "talk-lanes two" : "talk-lanes"}>
          {lanes.map((lane, i) => (
            <LanePane
              key={i === 0 ? "first" : "second"}
              lane={lane}
              turns={i === 0 ? first : second}
              models={models}
              model={chosen[i]}
              label={compares ? t(i === 0 ? "pick.first" : "pick.second") : t("pick.model")}
              onModel={(m) => choose(i, m)}
              onAgain={() => chosen[i] && lane.again(chosen[i], settings)}
              onEdit={edit}
            />
          ))}
        </div>
        <Composer
          draft={draft}
          onDraft={setDraft}
          busy={busy}
          ready={chosen[0] !== undefined}
          onSend={send}
          onStop={() =>
            lanes.forEach((l) => {
              l.stop();
            })
          }
        >
          <Button
            size="compact-sm"
            variant="subtle"
            color="gray"
            leftSection={compares ? <IconColumnsOff size={15} /> : <IconColumns2 size={15} />}
            onClick={compare}
          >
            <span className="talk-word">{compares ? t("compareEnd") : t("compare")}</span>
          </Button>
          <Button
            size="compact-sm"
            variant="subtle"
            color="gray"
            leftSection={<IconCode size={15} />}
            onClick={showCode.open}
            disabled={!chosen[0]}
          >
            <span className="talk-word">{t("code.open")}</span>
          </Button>
          <Tooltip label={t("clear")}>
            <ActionIcon
              variant="subtle"
              color="gray"
              aria-label={t("clear")}
              disabled={empty}
              onClick={() =>
                lanes.forEach((l) => {
                  l.clear();
                })
              }
            >
              <IconTrash size={16} />
            </ActionIcon>
          </Tooltip>
          <Tooltip label={t("parameters.title")}>
            <ActionIcon variant="subtle" color="gray" aria-label={t("parameters.title")} onClick={tune.open} hiddenFrom="lg">
              <IconAdjustmentsHorizontal size={16} />
            </ActionIcon>
          </Tooltip>
        </Composer>
      </Paper>
      <Paper p="md" w={300} visibleFrom="lg" className="card talk-aside" component="aside" aria-label={t("parameters.title")}>
        {parameters}
      </Paper>
      <Drawer
        opened={tuning}
        onClose={tune.close}
        title={t("parameters.title")}
        position="right"
        size="sm"
        closeButtonProps={{ "aria-label": common("close") }}
      >
        {parameters}
      </Drawer>
      {code && chosen[0] && (
        <Snippets
          call={{
            path: "/v1/chat/completions",
            body: requestOf(chosen[0], settings, exampleOf(settings.system, first, draft, t("code.example"))),
          }}
          onClose={showCode.close}
        />
      )}
    </Group>
  );
}
