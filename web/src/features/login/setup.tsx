import { Alert, Anchor, Button, Code, PasswordInput, Stack, Text, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { ApiError } from "../../api/client";
import { ErrorNote, Faces } from "../../ui/faces";
import { Frame } from "./frame";
import { setUp, useSetupStatus } from "./queries";

const minPassword = 15; // api.MinPassword; the server has the last word

/** The first administrator is made here. The token is behind the #: browsers send that to no server. */
export function SetupPage() {
  const { t } = useTranslation("login");
  const status = useSetupStatus();
  const [token] = useState(() => location.hash.slice(1));
  const [lost, setLost] = useState(token === "");
  return (
    <Frame title={t("setup.title")} lead={status.data?.needed && !lost ? t("setup.lead") : undefined}>
      <Faces of={status} rows={3}>
        {(s) => (!s.needed ? <Finished /> : lost ? <Lost /> : <First token={token} onLost={() => setLost(true)} />)}
      </Faces>
    </Frame>
  );
}

function Finished() {
  const { t } = useTranslation("login");
  return (
    <Alert color="teal" title={t("setup.done")}>
      <Anchor component={Link} to="/login">
        {t("setup.toLogin")}
      </Anchor>
    </Alert>
  );
}

function Lost() {
  const { t } = useTranslation("login");
  return (
    <Alert color="orange" title={t("setup.lost")}>
      <Stack gap={6}>
        <Text size="sm">{t("setup.fresh")}</Text>
        <Code>nebula setup</Code>
        <Text size="sm">{t("setup.orMake")}</Text>
        <Code>nebula user create NAME --role admin</Code>
      </Stack>
    </Alert>
  );
}

function First({ token, onLost }: { token: string; onLost: () => void }) {
  const { t } = useTranslation("login");
  const navigate = useNavigate();
  const [error, setError] = useState<unknown>(null);
  const form = useForm({
    mode: "uncontrolled",
    initialValues: { username: "", password: "", again: "" },
    validate: {
      username: (v) => (v.trim() ? null : t("needName")),
      password: (v) => ([...v].length >= minPassword ? null : t("setup.short", { count: minPassword })),
      again: (v, all) => (v === all.password ? null : t("setup.differ")),
    },
  });
  async function submit(v: { username: string; password: string }) {
    setError(null);
    try {
      await setUp(token, v.username.trim(), v.password);
      history.replaceState(null, "", "/setup"); // a token that is of no more use leaves the browser's history
      navigate({ to: "/", replace: true });
    } catch (e) {
      if (e instanceof ApiError && (e.status === 401 || e.status === 410)) {
        history.replaceState(null, "", "/setup");
        onLost();
        return;
      }
      if (e instanceof ApiError)
        for (const d of e.details)
          if (d.field === "password" || d.field === "username" || d.field === "name")
            form.setFieldError(d.field === "password" ? "password" : "username", d.reason);
      setError(e);
    }
  }
  return (
    <form onSubmit={form.onSubmit(submit)} noValidate>
      <Stack>
        <TextInput label={t("name")} autoComplete="username" autoFocus spellCheck={false} {...form.getInputProps("username")} />
        <PasswordInput
          label={t("password")}
          description={t("setup.rule", { count: minPassword })}
          autoComplete="new-password"
          visibilityToggleButtonProps={{ "aria-label": t("show") }}
          {...form.getInputProps("password")}
        />
        <PasswordInput
          label={t("setup.again")}
          autoComplete="new-password"
          visibilityToggleButtonProps={{ "aria-label": t("show") }}
          {...form.getInputProps("again")}
        />
        {error !== null && <ErrorNote error={error} />}
        <Button type="submit" loading={form.submitting} fullWidth>
          {t("setup.make")}
        </Button>
      </Stack>
    </form>
  );
}
