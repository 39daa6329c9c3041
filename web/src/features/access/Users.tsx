import { Button, Group } from "@mantine/core";
import { IconUserPlus, IconUsers } from "@tabler/icons-react";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useWhoami } from "../../domain/session";
import { Name, Pill, Unknown, When } from "../../ui/bits";
import { Empty } from "../../ui/faces";
import { done, failed } from "../../ui/notify";
import { RowMenu } from "../../ui/RowMenu";
import type { Column } from "../../ui/Table";
import { ListCard } from "./ListCard";
import { listPath, orderOf, type User } from "./logic";
import { updateUser, useUsers } from "./queries";
import { DeleteUser, EditUser, NewUser, ResetPassword } from "./UserDialogs";

type Open = { kind: "new" } | { kind: "edit" | "password" | "delete"; user: User } | null;

/** The people who may use the cluster. */
export function Users() {
  const { t } = useTranslation("access");
  const { t: common } = useTranslation();
  const search = useSearch({ from: "/shell/access" });
  const navigate = useNavigate();
  const me = useWhoami().data?.id;
  const sort = orderOf("users", search.sort, "name");
  const users = useUsers(listPath("users", sort));
  const [open, setOpen] = useState<Open>(null);

  async function toggle(u: User) {
    try {
      await updateUser(u.name, { disabled: !u.disabled });
      done(t(u.disabled ? "users.enabled" : "users.disabled", { name: u.name }));
    } catch (e) {
      failed(t("users.toggleFailed", { name: u.name }), e, common);
    }
  }
  const columns: Column<User>[] = [
    {
      key: "name",
      title: t("users.name"),
      sort: "name",
      head: true,
      render: (u) => (
        <Group gap={8} wrap="nowrap">
          <span className="clip access-name">
            <Name text={u.name} most={64} />
          </span>
          {u.name === me && <Pill color="nebula">{t("you")}</Pill>}
          {u.disabled && <Pill color="red">{t("users.isDisabled")}</Pill>}
        </Group>
      ),
    },
    {
      key: "display",
      title: t("users.display"),
      render: (u) => <span className="clip access-name">{u.display_name ? <Name text={u.display_name} most={60} /> : <Unknown />}</span>,
    },
    { key: "mail", title: t("users.mail"), render: (u) => (u.email ? <Name text={u.email} most={60} /> : <Unknown />) },
    { key: "role", title: t("users.role"), sort: "role", render: (u) => common(`role.${u.role}`) },
    {
      key: "how",
      title: t("users.login"),
      render: (u) => (u.external ? <span title={u.external.issuer}>{t("users.provider")}</span> : t("users.here")),
    },
    { key: "created", title: t("created"), sort: "created", render: (u) => <When ms={u.created_at_ms} /> },
    {
      key: "do",
      title: <span className="sr">{t("actions")}</span>,
      width: 50,
      render: (u) => (
        <RowMenu label={common("actionsFor", { name: u.name })}>
          {({ Item }) => (
            <>
              <Item onClick={() => setOpen({ kind: "edit", user: u })}>{t("users.edit")}</Item>
              {!u.external && <Item onClick={() => setOpen({ kind: "password", user: u })}>{t("users.reset")}</Item>}
              <Item onClick={() => navigate({ to: "/access", search: { tab: "keys", user: u.name } })}>{t("users.keys")}</Item>
              <Item onClick={() => navigate({ to: "/access", search: { tab: "sessions", user: u.name } })}>{t("users.sessions")}</Item>
              <Item onClick={() => toggle(u)}>{t(u.disabled ? "users.enable" : "users.disable")}</Item>
              <Item c="var(--mantine-color-error)" onClick={() => setOpen({ kind: "delete", user: u })}>
                {t("users.delete")}
              </Item>
            </>
          )}
        </RowMenu>
      ),
    },
  ];
  return (
    <>
      <ListCard
        label={t("tab.users")}
        pages={users}
        columns={columns}
        idOf={(u) => u.name}
        sort={sort}
        onSort={(s) => navigate({ to: "/access", search: { ...search, sort: s } })}
        empty={<Empty icon={<IconUsers size={40} stroke={1.3} />} title={t("users.none")} />}
        action={
          <Button leftSection={<IconUserPlus size={16} />} onClick={() => setOpen({ kind: "new" })}>
            {t("users.new")}
          </Button>
        }
      />
      {open?.kind === "new" && <NewUser onClose={() => setOpen(null)} />}
      {open?.kind === "edit" && <EditUser user={open.user} onClose={() => setOpen(null)} />}
      {open?.kind === "password" && <ResetPassword user={open.user} onClose={() => setOpen(null)} />}
      {open?.kind === "delete" && <DeleteUser user={open.user} onClose={() => setOpen(null)} />}
    </>
  );
}
