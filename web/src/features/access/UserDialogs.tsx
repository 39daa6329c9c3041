import { Checkbox, PasswordInput, Select, Text, TextInput } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { Role } from "../../domain/session";
import { inert } from "../../lib/format";
import { Confirm } from "../../ui/Confirm";
import { FormDialog } from "../../ui/FormDialog";
import { done } from "../../ui/notify";
import { roles, type User, updateUserOf } from "./logic";
import { createUser, deleteUser, setPassword, updateUser } from "./queries";

function RoleSelect({ value, onChange }: { value: Role; onChange: (r: Role) => void }) {
  const { t } = useTranslation("access");
  const { t: common } = useTranslation();
  return (
    <Select
      label={t("users.role")}
      description={t(`means.${value}`)}
      data={roles.map((r) => ({ value: r, label: common(`role.${r}`) }))}
      value={value}
      onChange={(v) => v && onChange(v as Role)}
      allowDeselect={false}
    />
  );
}

function Password({ value, onChange, label }: { value: string; onChange: (v: string) => void; label: string }) {
  const { t } = useTranslation("access");
  const { t: login } = useTranslation("login");
  return (
    <PasswordInput
      label={label}
      description={t("users.passwordRule")}
      autoComplete="new-password"
      value={value}
      onChange={(e) => onChange(e.currentTarget.value)}
      visibilityToggleButtonProps={{ "aria-label": login("show") }}
    />
  );
}

export function NewUser({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation("access");
  const [f, setF] = useState({ name: "", role: "viewer" as Role, display_name: "", email: "", password: "", external: false });
  const set = (change: Partial<typeof f>) => setF({ ...f, ...change });
  async function submit() {
    const name = f.name.trim();
    await createUser({
      name,
      role: f.role,
      display_name: f.display_name || undefined,
      email: f.email || undefined,
      password: f.external ? undefined : f.password,
    });
    done(t("users.made", { name }));
  }
  return (
    <FormDialog
      title={t("users.new")}
      action={t("users.make")}
      onSubmit={submit}
      onClose={onClose}
      disabled={f.name.trim() === "" || (!f.external && f.password === "")}
    >
      <TextInput
        label={t("users.name")}
        description={t("users.nameRule")}
        value={f.name}
        onChange={(e) => set({ name: e.currentTarget.value })}
        autoComplete="off"
        spellCheck={false}
        data-autofocus
      />
      <RoleSelect value={f.role} onChange={(role) => set({ role })} />
      <TextInput
        label={t("users.display")}
        value={f.display_name}
        onChange={(e) => set({ display_name: e.currentTarget.value })}
        autoComplete="off"
      />
      <TextInput
        label={t("users.mail")}
        type="email"
        value={f.email}
        onChange={(e) => set({ email: e.currentTarget.value })}
        autoComplete="off"
      />
      <Checkbox
        label={t("users.noPassword")}
        description={t("users.noPasswordHint")}
        checked={f.external}
        onChange={(e) => set({ external: e.currentTarget.checked })}
      />
      {!f.external && <Password label={t("users.password")} value={f.password} onChange={(password) => set({ password })} />}
    </FormDialog>
  );
}

export function EditUser({ user, onClose }: { user: User; onClose: () => void }) {
  const { t } = useTranslation("access");
  const { t: common } = useTranslation();
  const [f, setF] = useState({ role: user.role, display_name: user.display_name ?? "", email: user.email ?? "" });
  const change = updateUserOf(f, user);
  async function submit() {
    if (!change) return;
    await updateUser(user.name, change);
    done(t("users.changed", { name: user.name }));
  }
  return (
    <FormDialog
      title={t("users.editTitle", { name: user.name })}
      action={common("save")}
      onSubmit={submit}
      onClose={onClose}
      disabled={!change}
    >
      <RoleSelect value={f.role} onChange={(role) => setF({ ...f, role })} />
      <TextInput label={t("users.display")} value={f.display_name} onChange={(e) => setF({ ...f, display_name: e.currentTarget.value })} />
      <TextInput label={t("users.mail")} type="email" value={f.email} onChange={(e) => setF({ ...f, email: e.currentTarget.value })} />
    </FormDialog>
  );
}

export function ResetPassword({ user, onClose }: { user: User; onClose: () => void }) {
  const { t } = useTranslation("access");
  const [password, set] = useState("");
  async function submit() {
    await setPassword(user.name, password);
    done(t("users.resetDone", { name: user.name }));
  }
  return (
    <FormDialog
      title={t("users.resetTitle", { name: user.name })}
      action={t("users.reset")}
      onSubmit={submit}
      onClose={onClose}
      disabled={password === ""}
    >
      <Text size="sm">{t("users.resetHint")}</Text>
      <Password label={t("users.newPassword")} value={password} onChange={set} />
    </FormDialog>
  );
}

export function DeleteUser({ user, onClose }: { user: User; onClose: () => void }) {
  const { t } = useTranslation("access");
  return (
    <Confirm
      title={t("users.deleteTitle", { name: inert(user.name, 64) })}
      action={t("users.delete")}
      typed={user.name}
      danger
      onConfirm={async () => {
        await deleteUser(user.name);
        done(t("users.deleted", { name: user.name }));
      }}
      onClose={onClose}
    >
      <Text size="sm">{t("users.deleteHint")}</Text>
    </Confirm>
  );
}
