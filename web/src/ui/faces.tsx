// The four faces of a page: loading, empty, error, and what it is for.
import { Alert, Button, Center, Code, Group, Skeleton, Stack, Text, Title } from "@mantine/core";
import { IconAlertTriangle, IconRefresh } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { ApiError } from "../api/client";
import type { Translate } from "../lib/i18n";

export function Loading({ rows = 6 }: { rows?: number }) {
  const { t } = useTranslation();
  return (
    <Stack gap="sm" role="status" aria-busy="true">
      <span className="sr">{t("face.loading")}</span>
      {Array.from({ length: rows }, (_, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: they are all alike
        <Skeleton key={i} height={36} radius="sm" />
      ))}
    </Stack>
  );
}

/** What is shown where there is nothing yet: what this is, and what to do first. */
export function Empty({ icon, title, children, action }: { icon?: ReactNode; title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <Center py={56} px="md">
      <Stack align="center" gap="sm" maw={520}>
        <span aria-hidden="true">{icon}</span>
        <Title order={2} size="h3" ta="center">
          {title}
        </Title>
        {children && (
          <Text c="dimmed" ta="center" component="div">
            {children}
          </Text>
        )}
        {action}
      </Stack>
    </Center>
  );
}

/** A failure in words: what happened, the request's id for whoever looks into the log, and a way to try again. */
export function ErrorNote({ error, retry, title }: { error: unknown; retry?: () => void; title?: string }) {
  const { t } = useTranslation();
  const e = error instanceof ApiError ? error : null;
  const details = e ? detailsOf(e) : [];
  return (
    <Alert color="red" variant="light" icon={<IconAlertTriangle />} title={title ?? titleOf(e, t)} role="alert">
      <Stack gap="xs" align="flex-start">
        <Text size="sm" className="foreign">
          {messageOf(error, t)}
        </Text>
        {details.map((d) => (
          <Text size="sm" key={d.field + d.reason}>
            <Code>{d.field}</Code> {d.reason}
          </Text>
        ))}
        <Group gap="sm">
          {retry && (
            <Button size="xs" variant="default" leftSection={<IconRefresh size={14} />} onClick={retry}>
              {t("face.retry")}
            </Button>
          )}
          {e?.requestId && (
            <Text size="xs" c="dimmed">
              {t("face.request")} <Code>{e.requestId}</Code>
            </Text>
          )}
        </Group>
      </Stack>
    </Alert>
  );
}

/** The details of a failure, but not a single one that its message has told already. */
export function detailsOf(e: ApiError): ApiError["details"] {
  const [only, ...more] = e.details;
  return only && more.length === 0 && e.message.includes(only.field) && e.message.includes(only.reason) ? [] : e.details;
}

function titleOf(e: ApiError | null, t: Translate): string {
  if (!e) return t("face.failed");
  if (e.status === 0) return t("face.unreachable");
  if (e.status === 403) return t("face.forbidden");
  if (e.status === 404) return t("face.notFound");
  if (e.status === 412) return t("face.conflict");
  if (e.status === 429) return t("face.tooMany");
  return t("face.failed");
}

/** The words of a failure. The server's own are kept as they are: they name the next step. */
export function messageOf(error: unknown, t: Translate): string {
  if (error instanceof ApiError && error.status === 0) return t("face.unreachableHint");
  if (error instanceof Error && error.message) return sentence(error.message);
  return t("face.unknown");
}

export function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

type Source<T> = { data?: T; error?: unknown; isLoading?: boolean; refetch?: () => void; refresh?: () => void };

/** Chooses the face. What is there stays on the screen while it is asked for again, with a note when that fails. */
export function Faces<T>({
  of,
  empty,
  isEmpty,
  rows,
  children,
}: {
  of: Source<T>;
  empty?: ReactNode;
  isEmpty?: (data: T) => boolean;
  rows?: number;
  children: (data: T) => ReactNode;
}) {
  const retry = of.refetch ?? of.refresh;
  if (of.data === undefined) return of.error ? <ErrorNote error={of.error} retry={retry && (() => retry())} /> : <Loading rows={rows} />;
  return (
    <>
      {of.error ? (
        <div style={{ marginBottom: 12 }}>
          <ErrorNote error={of.error} retry={retry && (() => retry())} />
        </div>
      ) : null}
      {empty && isEmpty?.(of.data) ? empty : children(of.data)}
    </>
  );
}
