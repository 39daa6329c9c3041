import { Button, Checkbox, Group, Modal, MultiSelect, NativeSelect, Stack, Text, TextInput } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { inert } from "../lib/format";
import { ErrorNote } from "../ui/faces";
import { done } from "../ui/notify";
import { type FilesRequest, pull } from "./files";
import { useNodes } from "./fleet";

type Source = "uid" | "hugging_face" | "model_scope";

/** Brings a model's files to nodes before anything is to run there. `fixed` names the files already, `node` the only node. */
export function PullDialog({ fixed, name, node, onClose }: { fixed?: FilesRequest; name?: string; node?: string; onClose: () => void }) {
  const { t } = useTranslation(["cache", "common"]);
  const nodes = useNodes();
  const [source, setSource] = useState<Source>("hugging_face");
  const [model, setModel] = useState("");
  const [revision, setRevision] = useState("");
  const [everywhere, setEverywhere] = useState(false);
  const [chosen, setChosen] = useState<string[]>(node ? [node] : []);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const ready = (!!fixed || model.trim() !== "") && (everywhere || chosen.length > 0);
  async function submit(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    setError(null);
    const files: FilesRequest =
      fixed ??
      (source === "uid"
        ? { model_uid: model.trim() }
        : { model_name: model.trim(), model_source: source, revision: revision.trim() || undefined });
    try {
      const wished = await pull({ ...files, node_ids: everywhere ? [] : chosen });
      const count = wished.node_ids?.length ?? 0;
      done(t("pull.begun", { name: inert(wished.model_name, 60), count }));
      onClose();
    } catch (e) {
      setError(e);
      setBusy(false);
    }
  }
  return (
    <Modal opened onClose={onClose} title={t("pull.title")} size="lg" closeButtonProps={{ "aria-label": t("common:close") }}>
      <form onSubmit={submit}>
        <Stack>
          <Text size="sm" c="dimmed">
            {t("pull.lead")}
          </Text>
          {fixed ? (
            <Text fw={600}>{inert(name ?? "", 120)}</Text>
          ) : (
            <>
              <NativeSelect
                label={t("pull.from")}
                value={source}
                onChange={(e) => setSource(e.currentTarget.value as Source)}
                data={[
                  { value: "hugging_face", label: "Hugging Face" },
                  { value: "model_scope", label: "ModelScope" },
                  { value: "uid", label: t("pull.declared") },
                ]}
              />
              <TextInput
                data-autofocus
                label={source === "uid" ? t("pull.uid") : t("pull.name")}
                placeholder={source === "uid" ? "qwen-small" : "Qwen/Qwen2.5-0.5B-Instruct-GGUF"}
                value={model}
                onChange={(e) => setModel(e.currentTarget.value)}
                spellCheck={false}
                autoComplete="off"
              />
              {source !== "uid" && (
                <TextInput
                  label={t("pull.revision")}
                  description={t("pull.revisionHint")}
                  value={revision}
                  onChange={(e) => setRevision(e.currentTarget.value)}
                  spellCheck={false}
                  autoComplete="off"
                />
              )}
            </>
          )}
          {!node && (
            <>
              <Checkbox label={t("pull.everywhere")} checked={everywhere} onChange={(e) => setEverywhere(e.currentTarget.checked)} />
              {!everywhere && (
                <MultiSelect
                  label={t("pull.nodes")}
                  data={(nodes.data ?? []).map((n) => ({ value: n.node_id, label: inert(n.node_id, 60) }))}
                  value={chosen}
                  onChange={setChosen}
                  searchable
                />
              )}
            </>
          )}
          {error !== null && <ErrorNote error={error} />}
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t("common:cancel")}
            </Button>
            <Button type="submit" loading={busy} disabled={!ready}>
              {t("pull.begin")}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
