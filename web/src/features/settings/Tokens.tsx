import { Button, Group, NumberInput, Stack, Text, TextInput } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { Schemas } from "../../api/client";
import { inert } from "../../lib/format";
import { Name, Section, When } from "../../ui/bits";
import { Confirm } from "../../ui/Confirm";
import { FormDialog } from "../../ui/FormDialog";
import { Faces } from "../../ui/faces";
import { done } from "../../ui/notify";
import { SecretOnce } from "../../ui/SecretOnce";
import { makeToken, revokeToken, useTokens } from "./queries";

type Open = { kind: "new" } | { kind: "once"; token: string } | { kind: "revoke"; of: Schemas["KeyView"] } | null;

/** Tokens with which the command line acts as this person. */
export function Tokens({ person }: { person: string }) {
  const { t } = useTranslation("settings");
  const tokens = useTokens(person);
  const [open, setOpen] = useState<Open>(null);
  const close = () => setOpen(null);
  return (
    <Section
      title={t("tokens.title")}
      actions={
        <Button size="xs" variant="default" leftSection={<IconPlus size={14} />} onClick={() => setOpen({ kind: "new" })}>
          {t("tokens.new")}
        </Button>
      }
    >
      <Text size="sm" c="dimmed" mb="sm">
        {t("tokens.lead")}
      </Text>
      <Faces of={tokens} rows={2} isEmpty={(l) => l.length === 0} empty={<Text size="sm">{t("tokens.none")}</Text>}>
        {(list) => (
          <Stack gap="xs" component="ul" m={0} p={0} style={{ listStyle: "none" }}>
            {list.map((k) => (
              <Group key={k.id} justify="space-between" wrap="nowrap" component="li">
                <div style={{ minWidth: 0 }}>
                  <Text size="sm" fw={500} className="clip">
                    <Name text={k.name} most={60} />
                  </Text>
                  <Text size="xs" c="dimmed">
                    <span className="mono">{inert(k.prefix)}…</span> · {t("tokens.expires")}{" "}
                    {k.expires_at_ms ? <When ms={k.expires_at_ms} future /> : t("tokens.never")}
                  </Text>
                </div>
                <Button
                  size="compact-xs"
                  variant="default"
                  aria-label={t("tokens.revokeName", { name: inert(k.name, 60) })}
                  onClick={() => setOpen({ kind: "revoke", of: k })}
                >
                  {t("tokens.revoke")}
                </Button>
              </Group>
            ))}
          </Stack>
        )}
      </Faces>
      {open?.kind === "new" && <NewToken onMade={(token) => setOpen({ kind: "once", token })} onClose={close} />}
      {open?.kind === "once" && <SecretOnce title={t("tokens.once")} value={open.token} onClose={close} />}
      {open?.kind === "revoke" && (
        <Confirm
          title={t("tokens.revokeTitle", { name: inert(open.of.name, 60) })}
          action={t("tokens.revoke")}
          danger
          onConfirm={async () => {
            await revokeToken(open.of.id);
            done(t("tokens.revoked"));
          }}
          onClose={close}
        >
          <Text size="sm">{t("tokens.revokeHint")}</Text>
        </Confirm>
      )}
    </Section>
  );
}

function NewToken({ onMade, onClose }: { onMade: (token: string) => void; onClose: () => void }) {
  const { t } = useTranslation("settings");
  const [f, setF] = useState<{ name: string; days: number | "" }>({ name: "", days: "" });
  async function submit() {
    onMade((await makeToken(f.name.trim(), f.days)).token);
    return false;
  }
  return (
    <FormDialog title={t("tokens.new")} action={t("tokens.make")} onSubmit={submit} onClose={onClose} disabled={f.name.trim() === ""}>
      <TextInput
        label={t("tokens.name")}
        description={t("tokens.nameHint")}
        value={f.name}
        onChange={(e) => setF({ ...f, name: e.currentTarget.value })}
        data-autofocus
        autoComplete="off"
      />
      <NumberInput
        label={t("tokens.days")}
        placeholder="90"
        value={f.days}
        onChange={(v) => setF({ ...f, days: typeof v === "number" ? v : "" })}
        min={1}
        max={365}
        allowDecimal={false}
      />
    </FormDialog>
  );
}
