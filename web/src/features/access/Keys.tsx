import { Button, Text } from "@mantine/core";
import { IconKey, IconPlus } from "@tabler/icons-react";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useMay, useWhoami } from "../../domain/session";
import { Empty } from "../../ui/faces";
import { done, failed } from "../../ui/notify";
import { RowMenu } from "../../ui/RowMenu";
import { SecretOnce } from "../../ui/SecretOnce";
import { DeleteKey, RotateKey } from "./KeyDialogs";
import { EditKey, NewKey } from "./KeyForms";
import { keyColumns } from "./keyColumns";
import { ListCard } from "./ListCard";
import { type Key, listPath, orderOf } from "./logic";
import { updateKey, useKeys } from "./queries";
import { UserFilter } from "./UserFilter";

type Open = { kind: "new" } | { kind: "edit" | "rotate" | "delete"; key: Key } | { kind: "once"; secret: string; name: string } | null;

/** What programs show to be let in. */
export function Keys() {
  const { t } = useTranslation("access");
  const { t: common } = useTranslation();
  const search = useSearch({ from: "/shell/access" });
  const navigate = useNavigate();
  const admin = useMay("admin");
  const who = useWhoami().data;
  const sort = orderOf("keys", search.sort, "-created");
  const keys = useKeys(listPath("keys", sort, { name: "owner", value: search.user }));
  const [open, setOpen] = useState<Open>(null);
  const close = () => setOpen(null);
  const once = (made: { key?: string; name: string }) => setOpen(made.key ? { kind: "once", secret: made.key, name: made.name } : null);

  async function toggle(k: Key) {
    try {
      await updateKey(k.id, { disabled: k.state !== "disabled" });
      done(t(k.state === "disabled" ? "keys.enabled" : "keys.disabled", { name: k.name }));
    } catch (e) {
      failed(t("keys.toggleFailed", { name: k.name }), e, common);
    }
  }
  const columns = keyColumns(t, common, admin);
  columns.push({
    key: "do",
    title: <span className="sr">{t("actions")}</span>,
    width: 50,
    render: (k) => (
      <RowMenu label={common("actionsFor", { name: k.name })}>
        {({ Item }) => (
          <>
            <Item onClick={() => setOpen({ kind: "edit", key: k })}>{t("keys.edit")}</Item>
            <Item onClick={() => setOpen({ kind: "rotate", key: k })}>{t("keys.rotate")}</Item>
            <Item onClick={() => toggle(k)}>{t(k.state === "disabled" ? "keys.enable" : "keys.disable")}</Item>
            <Item c="var(--mantine-color-error)" onClick={() => setOpen({ kind: "delete", key: k })}>
              {t("keys.delete")}
            </Item>
          </>
        )}
      </RowMenu>
    ),
  });
  const make = (
    <Button leftSection={<IconPlus size={16} />} onClick={() => setOpen({ kind: "new" })}>
      {t("keys.new")}
    </Button>
  );
  return (
    <>
      <ListCard
        label={t("tab.keys")}
        pages={keys}
        columns={columns}
        idOf={(k) => k.id}
        sort={sort}
        onSort={(s) => navigate({ to: "/access", search: { ...search, sort: s } })}
        empty={
          <Empty icon={<IconKey size={40} stroke={1.3} />} title={t("keys.none")}>
            {t("keys.noneText")}
          </Empty>
        }
        filter={admin && <UserFilter value={search.user} onChange={(user) => navigate({ to: "/access", search: { ...search, user } })} />}
        action={make}
      />
      {open?.kind === "new" && who && <NewKey who={who} onMade={once} onClose={close} />}
      {open?.kind === "edit" && who && <EditKey id={open.key.id} who={who} onClose={close} />}
      {open?.kind === "rotate" && <RotateKey of={open.key} onMade={once} onClose={close} />}
      {open?.kind === "delete" && <DeleteKey of={open.key} onClose={close} />}
      {open?.kind === "once" && (
        <SecretOnce title={t("keys.onceTitle", { name: open.name })} value={open.secret} onClose={close}>
          <Text size="sm" c="dimmed">
            {t("keys.onceHow")}
          </Text>
        </SecretOnce>
      )}
    </>
  );
}
