import { Button, Code, Group, List, Modal, Progress, Stack, Text, TextInput } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { ApiError } from "../../api/client";
import { deleteModel, startModel, stopModel } from "../../domain/modelDeeds";
import { inert } from "../../lib/format";
import { messageOf } from "../../ui/faces";
import { each, type Outcome } from "./logic";
import type { Deed } from "./ModelMenu";

const work = { start: startModel, stop: stopModel, delete: (uid: string) => deleteModel(uid, false) };
const atOnce = 4;

/** Does one thing with many models: asks, shows how far it is, and what failed and why. */
export function Bulk({ deed, uids, onClose }: { deed: Deed; uids: string[]; onClose: (failed: string[]) => void }) {
  const { t } = useTranslation(["models", "common"]);
  const [typed, setTyped] = useState("");
  const [state, setState] = useState<"asks" | "works" | "told">("asks");
  const [all, setAll] = useState<Outcome[]>([]);
  const word = t("bulk.word", { count: uids.length });
  const failed = all.filter((o) => o.error !== null);
  async function submit(event: FormEvent) {
    event.preventDefault();
    setState("works");
    const out = await each(uids, atOnce, work[deed], (o) => setAll((before) => [...before, o]));
    if (out.every((o) => o.error === null)) onClose([]);
    else setState("told");
  }
  const close = () => state !== "works" && onClose(state === "told" ? failed.map((f) => f.id) : uids);
  return (
    <Modal opened onClose={close} title={t(`bulk.${deed}`, { count: uids.length })} closeButtonProps={{ "aria-label": t("common:close") }}>
      <form onSubmit={submit}>
        <Stack>
          {state === "asks" && <Asked uids={uids} />}
          {state === "asks" && deed === "delete" && (
            <>
              <Text size="sm">{t("common:delete.text")}</Text>
              <TextInput
                data-autofocus
                autoComplete="off"
                label={
                  <>
                    {t("common:confirm.type")} <b className="mono">{word}</b>
                  </>
                }
                value={typed}
                onChange={(e) => setTyped(e.currentTarget.value)}
              />
            </>
          )}
          {state !== "asks" && (
            <>
              <Progress aria-label={t("bulk.progress")} value={(all.length / uids.length) * 100} />
              <Text size="sm" role="status">
                {t("bulk.told", { done: all.length - failed.length, total: uids.length })}
              </Text>
            </>
          )}
          {failed.length > 0 && <Failed all={failed} />}
          <Group justify="flex-end">
            {state !== "works" && (
              <Button variant="default" onClick={close}>
                {t(state === "told" ? "common:close" : "common:cancel")}
              </Button>
            )}
            {state !== "told" && (
              <Button
                type="submit"
                color={deed === "delete" ? "red" : undefined}
                loading={state === "works"}
                disabled={deed === "delete" && state === "asks" && typed !== word}
              >
                {t(`deed.${deed}`)}
              </Button>
            )}
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}

function Asked({ uids }: { uids: string[] }) {
  const { t } = useTranslation("models");
  return (
    <Text size="sm" className="foreign mono">
      {uids.slice(0, 12).join(", ")}
      {uids.length > 12 && ` ${t("bulk.more", { count: uids.length - 12 })}`}
    </Text>
  );
}

function Failed({ all }: { all: Outcome[] }) {
  const { t } = useTranslation(["models", "common"]);
  const { t: common } = useTranslation();
  return (
    <div role="alert">
      <Text size="sm" fw={600} c="red">
        {t("bulk.failed", { count: all.length })}
      </Text>
      <List size="sm" style={{ maxHeight: 240, overflow: "auto" }} tabIndex={0}>
        {all.map((o) => (
          <List.Item key={o.id} className="foreign">
            <Code>{inert(o.id, 64)}</Code> {messageOf(o.error, common)}{" "}
            {o.error instanceof ApiError && o.error.requestId && (
              <Text span size="xs" c="dimmed">
                {t("common:face.request")} {o.error.requestId}
              </Text>
            )}
          </List.Item>
        ))}
      </List>
    </div>
  );
}
