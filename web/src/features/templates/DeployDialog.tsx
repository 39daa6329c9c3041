import { Button, Group, Modal, NumberInput, Select, Stack, Text, TextInput } from "@mantine/core";
import { useNavigate } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import { ApiError, type Schemas } from "../../api/client";
import { useNodes } from "../../domain/fleet";
import { Verdict } from "../../domain/Verdict";
import { inert } from "../../lib/format";
import { ErrorNote, Faces } from "../../ui/faces";
import { done } from "../../ui/notify";
import { type Deploy, deploy, type Template, useTemplate } from "./queries";

function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");
}

/** Makes a model of a template and starts it, after it has told where it would run if one likes. */
export function DeployDialog({ id, onClose }: { id: string; onClose: () => void }) {
  const { t } = useTranslation(["templates", "common"]);
  const template = useTemplate(id);
  return (
    <Modal
      opened
      onClose={onClose}
      size="lg"
      title={t("deployTitle", { name: inert(template.data?.template.name ?? id, 60) })}
      closeButtonProps={{ "aria-label": t("common:close") }}
    >
      <Faces of={template} rows={3}>
        {(m) => <Ask template={m.template} onClose={onClose} />}
      </Faces>
    </Modal>
  );
}

function Ask({ template: x, onClose }: { template: Template; onClose: () => void }) {
  const { t } = useTranslation(["templates", "common"]);
  const navigate = useNavigate();
  const nodes = useNodes();
  const [uid, setUid] = useState("");
  const [replicas, setReplicas] = useState<number | string>(x.default_replicas);
  const [node, setNode] = useState<string | null>(null);
  const [busy, setBusy] = useState<"dry" | "real" | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [told, setTold] = useState<{ asked: string; explanation: Schemas["Explanation"] | undefined } | null>(null);
  const body: Deploy = {
    model_uid: uid.trim() || undefined,
    replicas: replicas === "" ? undefined : Number(replicas),
    node_id: node ?? undefined,
  };
  const asked = JSON.stringify(body);
  // Pressed twice it is done once; another wish is another request.
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new key for each wish is what it is for
  const key = useMemo(randomKey, [asked]);
  const field = (name: string) => (error instanceof ApiError ? error.details.find((d) => d.field === name)?.reason : undefined);
  async function run(dry: boolean) {
    setBusy(dry ? "dry" : "real");
    setError(null);
    try {
      const made = await deploy(x.template_id, body, dry, key);
      if (dry) setTold({ asked, explanation: made.explanation ?? undefined });
      else {
        done(t("deployed", { uid: made.model_uid }));
        navigate({ to: "/models/$uid", params: { uid: made.model_uid } });
        return;
      }
    } catch (e) {
      setError(e);
    }
    setBusy(null);
  }
  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        run(false);
      }}
    >
      <Stack>
        <Text size="sm" c="dimmed" className="foreign">
          {inert(x.model_name, 120)}
        </Text>
        <TextInput
          data-autofocus
          label={t("uid")}
          description={t("uidHint")}
          value={uid}
          onChange={(e) => setUid(e.currentTarget.value)}
          error={field("model_uid")}
          autoComplete="off"
          spellCheck={false}
        />
        <Group grow align="flex-start">
          <NumberInput
            label={t("replicas")}
            min={0}
            value={replicas}
            onChange={setReplicas}
            error={field("replicas")}
            allowDecimal={false}
          />
          <Select
            label={t("node")}
            placeholder={t("anyNode")}
            clearable
            searchable
            data={(nodes.data ?? []).map((n) => ({ value: n.node_id, label: inert(n.node_id, 60) }))}
            value={node}
            onChange={setNode}
            error={field("node_id")}
          />
        </Group>
        {told?.asked === asked && <Verdict explanation={told.explanation} />}
        {error !== null && <ErrorNote error={error} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            {t("common:cancel")}
          </Button>
          <Button variant="default" onClick={() => run(true)} loading={busy === "dry"}>
            {t("check")}
          </Button>
          <Button type="submit" loading={busy === "real"}>
            {t("deploy")}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
