import { Group, Text, Tooltip } from "@mantine/core";
import { inert } from "../../lib/format";
import type { Translate } from "../../lib/i18n";
import { Name, Pill, When } from "../../ui/bits";
import type { Column } from "../../ui/Table";
import type { Key } from "./logic";

type T = Translate<"access">;
type Common = Translate;

const stateColor: Record<Key["state"], string> = { active: "teal", disabled: "gray", expired: "orange", "owner-disabled": "red" };

/** The columns of the list of keys; whose they are matters only to those who see more than their own. */
export function keyColumns(t: T, common: Common, withOwner: boolean): Column<Key>[] {
  const columns: Column<Key>[] = [
    {
      key: "name",
      title: t("keys.name"),
      sort: "name",
      head: true,
      render: (k) => (
        <div>
          <Group gap={8} wrap="nowrap">
            <span className="clip access-name">
              <Name text={k.name} most={60} />
            </span>
            {k.kind === "personal" && <Pill color="blue">{t("keys.personal")}</Pill>}
          </Group>
          <Text size="xs" c="dimmed" className="mono">
            {inert(k.prefix)}…
          </Text>
        </div>
      ),
    },
    {
      key: "state",
      title: t("keys.state"),
      sort: "state",
      render: (k) => <Pill color={stateColor[k.state]}>{t(`keyState.${k.state}`)}</Pill>,
    },
    {
      key: "role",
      title: t("users.role"),
      sort: "role",
      render: (k) =>
        k.owner_role_limits ? (
          <Tooltip label={t("keys.limited")}>
            <span tabIndex={0}>{common(`role.${k.role}`)} *</span>
          </Tooltip>
        ) : (
          common(`role.${k.role}`)
        ),
    },
    { key: "scopes", title: t("keys.scopes"), render: (k) => <ScopesCell of={k} t={t} /> },
    {
      key: "expires",
      title: t("keys.expires"),
      sort: "expires",
      render: (k) => (k.expires_at_ms ? <When ms={k.expires_at_ms} future /> : t("never")),
    },
    {
      key: "used",
      title: t("keys.used"),
      sort: "last_used",
      render: (k) =>
        k.last_used_ms ? (
          <>
            <When ms={k.last_used_ms} />
            {k.last_used_from && (
              <Text size="xs" c="dimmed" className="mono">
                {inert(k.last_used_from)}
              </Text>
            )}
          </>
        ) : (
          t("never")
        ),
    },
  ];
  if (withOwner)
    columns.splice(1, 0, { key: "owner", title: t("keys.owner"), sort: "owner", render: (k) => <Name text={k.owner} most={64} /> });
  return columns;
}

/** What the key is narrowed to: the first of each, the rest on hover. */
function ScopesCell({ of, t }: { of: Key; t: T }) {
  const models = of.scopes.models ?? [];
  const routes = of.scopes.routes ?? [];
  if (models.length + routes.length === 0) return <Text size="sm">{t("keys.everything")}</Text>;
  const line = (all: string[], word: string) =>
    all.length > 0 && (
      <Tooltip label={inert(all.join(", "), 600)}>
        <Text size="xs" tabIndex={0} className="clip" maw={220}>
          {word}: <span className="mono">{inert(all[0]!, 40)}</span>
          {all.length > 1 && ` +${all.length - 1}`}
        </Text>
      </Tooltip>
    );
  return (
    <>
      {line(models, t("keys.models"))}
      {line(routes, t("keys.routes"))}
    </>
  );
}
