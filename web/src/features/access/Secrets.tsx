import { Anchor, Button, Checkbox, Group, Paper, PasswordInput, Text, TextInput } from "@mantine/core";
import { IconLock, IconPlus } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { Schemas } from "../../api/client";
import { useLive } from "../../api/live";
import { useMay } from "../../domain/session";
import { inert } from "../../lib/format";
import { Name, Unknown, When } from "../../ui/bits";
import { Confirm } from "../../ui/Confirm";
import { FormDialog } from "../../ui/FormDialog";
import { Empty, Faces } from "../../ui/faces";
import { done } from "../../ui/notify";
import { RowMenu } from "../../ui/RowMenu";
import { type Column, Table } from "../../ui/Table";
import { deleteSecret, putSecret } from "./queries";

type Secret = Schemas["SecretView"];
type Open = { kind: "put"; name?: string } | { kind: "delete"; secret: Secret } | null;

/** Values that people have entrusted to the cluster, such as the token of a hub. No answer of the server ever has one. */
export function Secrets() {
  const { t } = useTranslation("access");
  const { t: common } = useTranslation();
  const admin = useMay("admin");
  const secrets = useLive<Secret[]>("/api/v2/secrets");
  const [open, setOpen] = useState<Open>(null);
  const columns: Column<Secret>[] = [
    { key: "name", title: t("secrets.name"), head: true, render: (s) => <Name text={s.name} mono most={60} /> },
    { key: "used", title: t("secrets.used"), render: (s) => <UsedBy models={s.used_by ?? []} /> },
    { key: "changed", title: t("secrets.changed"), render: (s) => <When ms={s.updated_at_ms} /> },
    { key: "by", title: t("secrets.by"), render: (s) => (s.updated_by ? <Name text={s.updated_by} most={64} /> : <Unknown />) },
  ];
  if (admin) {
    columns.push({
      key: "do",
      title: <span className="sr">{t("actions")}</span>,
      width: 50,
      render: (s) => (
        <RowMenu label={common("actionsFor", { name: inert(s.name, 60) })}>
          {({ Item }) => (
            <>
              <Item onClick={() => setOpen({ kind: "put", name: s.name })}>{t("secrets.replace")}</Item>
              <Item c="var(--mantine-color-error)" onClick={() => setOpen({ kind: "delete", secret: s })}>
                {t("secrets.delete")}
              </Item>
            </>
          )}
        </RowMenu>
      ),
    });
  }
  return (
    <>
      <Paper className="card access-list">
        <Group justify="space-between" p="sm">
          <Text size="sm" c="dimmed">
            {t("secrets.lead")}
          </Text>
          {admin && (
            <Button leftSection={<IconPlus size={16} />} onClick={() => setOpen({ kind: "put" })}>
              {t("secrets.new")}
            </Button>
          )}
        </Group>
        <Faces
          of={secrets}
          isEmpty={(s) => s.length === 0}
          empty={
            <Empty icon={<IconLock size={40} stroke={1.3} />} title={t("secrets.none")}>
              {t(admin ? "secrets.noneText" : "secrets.noneViewer")}
            </Empty>
          }
        >
          {(rows) => <Table label={t("tab.secrets")} columns={columns} rows={rows} idOf={(s) => s.name} />}
        </Faces>
      </Paper>
      {open?.kind === "put" && <PutSecret name={open.name} onClose={() => setOpen(null)} />}
      {open?.kind === "delete" && <DeleteSecret secret={open.secret} onClose={() => setOpen(null)} />}
    </>
  );
}

function UsedBy({ models }: { models: string[] }) {
  const { t } = useTranslation("access");
  if (models.length === 0) return <Text size="sm">{t("secrets.unused")}</Text>;
  return (
    <Group gap={6}>
      {models.slice(0, 3).map((uid) => (
        <Anchor key={uid} component={Link} to={`/models/${encodeURIComponent(uid)}`} size="sm">
          {uid}
        </Anchor>
      ))}
      {models.length > 3 && <span title={models.slice(3).join(", ")}>+{models.length - 3}</span>}
    </Group>
  );
}

function PutSecret({ name, onClose }: { name?: string; onClose: () => void }) {
  const { t } = useTranslation("access");
  const { t: login } = useTranslation("login");
  const { t: common } = useTranslation();
  const [f, setF] = useState({ name: name ?? "", value: "" });
  async function submit() {
    await putSecret(f.name.trim(), f.value);
    done(t("secrets.put", { name: f.name.trim() }));
  }
  return (
    <FormDialog
      title={name ? t("secrets.replaceTitle", { name: inert(name, 60) }) : t("secrets.new")}
      action={common("save")}
      onSubmit={submit}
      onClose={onClose}
      disabled={f.name.trim() === "" || f.value === ""}
    >
      {!name && (
        <TextInput
          label={t("secrets.name")}
          description={t("secrets.nameRule")}
          value={f.name}
          onChange={(e) => setF({ ...f, name: e.currentTarget.value })}
          autoComplete="off"
          spellCheck={false}
          data-autofocus
        />
      )}
      <PasswordInput
        label={t("secrets.value")}
        description={t("secrets.valueHint")}
        value={f.value}
        onChange={(e) => setF({ ...f, value: e.currentTarget.value })}
        autoComplete="off"
        visibilityToggleButtonProps={{ "aria-label": login("show") }}
      />
    </FormDialog>
  );
}

function DeleteSecret({ secret, onClose }: { secret: Secret; onClose: () => void }) {
  const { t } = useTranslation("access");
  const used = secret.used_by?.length ?? 0;
  const [force, setForce] = useState(false);
  return (
    <Confirm
      title={t("secrets.deleteTitle", { name: inert(secret.name, 60) })}
      action={t("secrets.delete")}
      typed={secret.name}
      danger
      onConfirm={async () => {
        await deleteSecret(secret.name, force);
        done(t("secrets.deleted", { name: inert(secret.name, 60) }));
      }}
      onClose={onClose}
    >
      <Text size="sm">{used > 0 ? t("secrets.deleteUsed", { count: used }) : t("secrets.deleteHint")}</Text>
      {used > 0 && <Checkbox label={t("secrets.force")} checked={force} onChange={(e) => setForce(e.currentTarget.checked)} />}
    </Confirm>
  );
}
