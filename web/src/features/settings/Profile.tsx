import { Button, Group, Stack, Text, TextInput } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import type { Schemas } from "../../api/client";
import type { Role } from "../../domain/session";
import { Name, Pill, Section } from "../../ui/bits";
import { ErrorNote } from "../../ui/faces";
import { done } from "../../ui/notify";
import { saveProfile } from "./queries";

export function Profile({ user, role }: { user: Schemas["User"]; role: Role }) {
  const { t } = useTranslation("settings");
  const { t: common } = useTranslation();
  const [f, setF] = useState({ display_name: user.display_name ?? "", email: user.email ?? "" });
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const changed = f.display_name !== (user.display_name ?? "") || f.email !== (user.email ?? "");
  async function submit(e: FormEvent) {
    e.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await saveProfile(f);
      done(t("profile.saved"));
    } catch (e) {
      setError(e);
    }
    setBusy(false);
  }
  return (
    <Section title={t("profile.title")}>
      <form onSubmit={submit} noValidate>
        <Stack gap="sm">
          <Group gap="xs">
            <Text fw={600}>
              <Name text={user.name} most={64} />
            </Text>
            <Pill color="nebula">{common(`role.${role}`)}</Pill>
            {user.external && (
              <Text size="sm" c="dimmed">
                {t("profile.external")} <Name text={user.external.issuer} most={80} />
              </Text>
            )}
          </Group>
          <TextInput
            label={t("profile.display")}
            autoComplete="name"
            value={f.display_name}
            onChange={(e) => setF({ ...f, display_name: e.currentTarget.value })}
          />
          <TextInput
            label={t("profile.mail")}
            type="email"
            autoComplete="email"
            value={f.email}
            onChange={(e) => setF({ ...f, email: e.currentTarget.value })}
          />
          {error !== null && <ErrorNote error={error} />}
          <Group>
            <Button type="submit" loading={busy} disabled={!changed}>
              {common("save")}
            </Button>
          </Group>
        </Stack>
      </form>
    </Section>
  );
}
