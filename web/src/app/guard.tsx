import { Anchor, Button, Center, Code, Stack, Text, Title } from "@mantine/core";
import { Link, Navigate, Outlet, useRouter } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { whenLoggedOut } from "../api/client";
import { forgetSources } from "../api/live";
import { queries } from "../api/queries";
import { useWhoami, whoamiKey } from "../domain/session";
import { ErrorNote, Loading } from "../ui/faces";
import { Layout } from "./layout";

/** Lets in who is logged in; whoever is not goes to the login page, and comes back to where they wanted to go. */
export function Guard() {
  const who = useWhoami();
  useEffect(
    () =>
      whenLoggedOut(() => {
        forgetSources();
        queries.invalidateQueries({ queryKey: whoamiKey });
      }),
    [],
  );
  if (who.error?.status === 401) return <ToLogin />;
  if (who.error && !who.data)
    return (
      <Center mih="100vh" p="md">
        <ErrorNote error={who.error} retry={() => who.refetch()} />
      </Center>
    );
  if (!who.data) return <Loading />;
  return (
    <Layout who={who.data}>
      <Outlet />
    </Layout>
  );
}

/** Leads to the login page, once: while that is being loaded the address has changed already. */
function ToLogin() {
  const router = useRouter();
  const [search] = useState(() => ({ next: router.state.location.href === "/" ? undefined : router.state.location.href }));
  return <Navigate to="/login" search={search} replace />;
}

export function Nowhere() {
  const { t } = useTranslation();
  return (
    <Center mih="60vh" p="md">
      <Stack align="center">
        <Title order={1}>{t("nowhere.title")}</Title>
        <Text c="dimmed">{t("nowhere.text")}</Text>
        <Anchor component={Link} to="/">
          {t("nowhere.home")}
        </Anchor>
      </Stack>
    </Center>
  );
}

/** The last resort: a page that failed to draw itself. A new version of the server has other files: loading again mends that. */
export function Crashed({ error }: { error: unknown }) {
  const { t } = useTranslation();
  return (
    <Center mih="60vh" p="md">
      <Stack align="center" maw={640}>
        <Title order={1}>{t("crashed.title")}</Title>
        <Text c="dimmed">{t("crashed.text")}</Text>
        <Code block>{error instanceof Error ? error.message : String(error)}</Code>
        <Button onClick={() => location.reload()}>{t("crashed.reload")}</Button>
      </Stack>
    </Center>
  );
}
