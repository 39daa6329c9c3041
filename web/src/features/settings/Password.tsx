import { Button, Group, PasswordInput, Stack, Text } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { Section } from "../../ui/bits";
import { ErrorNote } from "../../ui/faces";
import { done } from "../../ui/notify";
import { changePassword } from "./queries";

const none = { current: "", next: "", again: "" };

export function Password({ name }: { name: string }) {
  const { t } = useTranslation("settings");
  const { t: login } = useTranslation("login");
  const [f, setF] = useState(none);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const differ = f.again !== "" && f.next !== f.again;
  async function submit(e: FormEvent) {
    e.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await changePassword(f.current, f.next);
      setF(none);
      done(t("password.done"));
    } catch (e) {
      setError(e);
    }
    setBusy(false);
  }
  const field = (key: keyof typeof none, autoComplete: string, description?: string, wrong?: string) => (
    <PasswordInput
      label={t(`password.${key}`)}
      description={description}
      error={wrong}
      autoComplete={autoComplete}
      value={f[key]}
      onChange={(e) => setF({ ...f, [key]: e.currentTarget.value })}
      visibilityToggleButtonProps={{ "aria-label": login("show") }}
    />
  );
  return (
    <Section title={t("password.title")}>
      <form onSubmit={submit} noValidate>
        <Stack gap="sm">
          {/* For programs that keep passwords: they need to know whose it is. */}
          <input type="text" name="username" autoComplete="username" value={name} readOnly hidden />
          {field("current", "current-password")}
          {field("next", "new-password", t("password.rule"))}
          {field("again", "new-password", undefined, differ ? t("password.differ") : undefined)}
          {error !== null && <ErrorNote error={error} title={t("password.failed")} />}
          <Group>
            <Button type="submit" loading={busy} disabled={f.current === "" || f.next === "" || f.next !== f.again}>
              {t("password.change")}
            </Button>
            <Text size="sm" c="dimmed">
              {t("password.others")}
            </Text>
          </Group>
        </Stack>
      </form>
    </Section>
  );
}
