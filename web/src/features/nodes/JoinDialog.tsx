import { Alert, Button, Code, Group, Modal, NativeSelect, Stack, Text, TextInput } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import type { Schemas } from "../../api/client";
import { exact } from "../../lib/format";
import { Copy } from "../../ui/bits";
import { ErrorNote, Loading } from "../../ui/faces";
import { joinCommand } from "./logic";
import { makeToken, useCluster } from "./queries";
import { Tokens } from "./Tokens";

const lives = [1800, 4 * 3600, 24 * 3600];

/** Makes a token and shows, once, what to type on the machine that is to join. */
export function JoinDialog({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation(["nodes", "common"]);
  const [made, setMade] = useState<Schemas["JoinTokenCreated"] | null>(null);
  return (
    <Modal opened onClose={onClose} title={t("join.title")} size="lg" closeButtonProps={{ "aria-label": t("common:close") }}>
      {made ? <Made token={made} onClose={onClose} /> : <Ask onMade={setMade} />}
    </Modal>
  );
}

function Ask({ onMade }: { onMade: (token: Schemas["JoinTokenCreated"]) => void }) {
  const { t } = useTranslation("nodes");
  const [name, setName] = useState("");
  const [seconds, setSeconds] = useState(lives[0]!);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  async function submit(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      onMade(await makeToken(name.trim(), seconds));
    } catch (e) {
      setError(e);
      setBusy(false);
    }
  }
  return (
    <Stack>
      <form onSubmit={submit}>
        <Stack>
          <Text size="sm">{t("join.lead")}</Text>
          <TextInput
            data-autofocus
            label={t("join.name")}
            description={t("join.nameHint")}
            autoComplete="off"
            spellCheck={false}
            value={name}
            onChange={(e) => setName(e.currentTarget.value)}
          />
          <NativeSelect
            label={t("join.life")}
            value={String(seconds)}
            onChange={(e) => setSeconds(Number(e.currentTarget.value))}
            data={lives.map((s) => ({
              value: String(s),
              label: s < 3600 ? t("join.minutes", { count: s / 60 }) : t("join.hours", { count: s / 3600 }),
            }))}
          />
          {error !== null && <ErrorNote error={error} />}
          <Group justify="flex-end">
            <Button type="submit" loading={busy}>
              {t("join.make")}
            </Button>
          </Group>
        </Stack>
      </form>
      <Tokens />
    </Stack>
  );
}

function Made({ token, onClose }: { token: Schemas["JoinTokenCreated"]; onClose: () => void }) {
  const { t, i18n } = useTranslation("nodes");
  const cluster = useCluster(true);
  if (cluster.isLoading) return <Loading rows={3} />;
  // Without the cluster the address is left open.
  const { command, open } = joinCommand(token, cluster.data?.servers ?? []);
  return (
    <Stack>
      <Alert color="orange" title={t("join.once")}>
        {t("join.run", { time: exact(token.expires_at_ms, i18n.language) })}
      </Alert>
      <Group gap="xs" wrap="nowrap" align="flex-start">
        <Code block className="foreign" style={{ flex: 1, whiteSpace: "pre-wrap" }} data-testid="join-command">
          {command}
        </Code>
        <Copy text={command} label={t("join.copy")} />
      </Group>
      {open && (
        <Text size="sm" c="dimmed">
          {t("join.host")}
        </Text>
      )}
      <Group justify="flex-end">
        <Button onClick={onClose}>{t("join.done")}</Button>
      </Group>
    </Stack>
  );
}
