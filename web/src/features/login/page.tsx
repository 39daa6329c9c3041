import { Alert, Anchor, Button, Code, Divider, PasswordInput, Stack, Text, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { Navigate, useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useWhoami } from "../../domain/session";
import { ErrorNote } from "../../ui/faces";
import { Frame } from "./frame";
import { logIn, useSetupStatus } from "./queries";
import { keptReturn } from "./search";

export function LoginPage() {
  const { t } = useTranslation(["login", "common"]);
  const { next, error: brought, request } = useSearch({ from: "/login" });
  const navigate = useNavigate();
  const status = useSetupStatus();
  const who = useWhoami();
  const [error, setError] = useState<unknown>(null);
  const form = useForm({
    mode: "uncontrolled",
    initialValues: { username: "", password: "" },
    validate: { username: (v) => (v.trim() ? null : t("needName")), password: (v) => (v ? null : t("needPassword")) },
  });
  // What was known of a session that has ended is still there, beside the refusal.
  if (who.data && !who.error) return <Navigate to={next ?? "/"} replace />;
  async function submit(v: { username: string; password: string }) {
    setError(null);
    try {
      await logIn(v.username.trim(), v.password);
      navigate({ to: next ?? "/", replace: true });
    } catch (e) {
      setError(e);
    }
  }
  return (
    <Frame title={t("title")} lead={next ? t("comeBack") : undefined}>
      {status.data?.needed && (
        <Alert color="blue" title={t("setupNeeded")}>
          <Stack gap={4}>
            <Text size="sm">{t("setupHow")}</Text>
            <Code>nebula setup</Code>
          </Stack>
        </Alert>
      )}
      {brought && (
        <Alert color="red" role="alert" title={t("failed")}>
          <Text size="sm">{t(`provided.${brought}`)}</Text>
          {request && (
            <Text size="xs" c="dimmed">
              {t("common:face.request")} <Code>{request}</Code>
            </Text>
          )}
        </Alert>
      )}
      <form onSubmit={form.onSubmit(submit)} noValidate>
        <Stack>
          <TextInput label={t("name")} autoComplete="username" autoFocus spellCheck={false} {...form.getInputProps("username")} />
          <PasswordInput
            label={t("password")}
            autoComplete="current-password"
            visibilityToggleButtonProps={{ "aria-label": t("show") }}
            {...form.getInputProps("password")}
          />
          {error !== null && <ErrorNote error={error} title={t("failed")} />}
          <Button type="submit" loading={form.submitting} fullWidth>
            {t("logIn")}
          </Button>
        </Stack>
      </form>
      {status.data?.login_provider && (
        <>
          <Divider label={t("or")} />
          <Button component="a" variant="default" fullWidth href={`/api/v2/auth/oidc/login?return=${encodeURIComponent(keptReturn(next))}`}>
            {t("provider", { name: status.data.provider_name })}
          </Button>
        </>
      )}
      <Text size="xs" c="dimmed">
        {t("forgot")}{" "}
        <Anchor component="span" c="dimmed" className="mono">
          nebula user set-password
        </Anchor>
      </Text>
    </Frame>
  );
}
