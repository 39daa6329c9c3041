import { NumberInput, Select, TagsInput, TextInput } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { ApiError } from "../../api/client";
import { atLeast, type Whoami } from "../../domain/session";
import { inert } from "../../lib/format";
import { rebase } from "../../lib/rebase";
import { Changed } from "../../ui/Changed";
import { FormDialog } from "../../ui/FormDialog";
import { Faces } from "../../ui/faces";
import { done } from "../../ui/notify";
import { createKeyOf, differences, type Key, type KeyForm, rolesUpTo, updateKeyOf } from "./logic";
import { createKey, updateKey, useKey } from "./queries";

function Fields({ f, set, who, isNew }: { f: KeyForm; set: (change: Partial<KeyForm>) => void; who: Whoami; isNew?: boolean }) {
  const { t } = useTranslation("access");
  const { t: common } = useTranslation();
  return (
    <>
      <TextInput
        label={t("keys.name")}
        description={t("keys.nameHint")}
        value={f.name}
        onChange={(e) => set({ name: e.currentTarget.value })}
        autoComplete="off"
        data-autofocus
      />
      {isNew && atLeast(who.role, "admin") && (
        <TextInput
          label={t("keys.owner")}
          description={t("keys.ownerHint")}
          placeholder={who.id}
          value={f.owner}
          onChange={(e) => set({ owner: e.currentTarget.value })}
          autoComplete="off"
          spellCheck={false}
        />
      )}
      <Select
        label={t("users.role")}
        description={t(`means.${f.role}`)}
        data={rolesUpTo(who.role).map((r) => ({ value: r, label: common(`role.${r}`) }))}
        value={f.role}
        onChange={(v) => v && set({ role: v as KeyForm["role"] })}
        allowDeselect={false}
      />
      <TagsInput
        label={t("keys.models")}
        description={t("keys.modelsHint")}
        value={f.models}
        onChange={(models) => set({ models })}
        acceptValueOnBlur
        splitChars={[",", " "]}
      />
      <TagsInput
        label={t("keys.routes")}
        description={t("keys.routesHint")}
        value={f.routes}
        onChange={(routes) => set({ routes })}
        acceptValueOnBlur
        splitChars={[",", " "]}
      />
      <NumberInput
        label={isNew ? t("keys.days") : t("keys.daysNew")}
        description={t("keys.daysHint")}
        placeholder={isNew ? "90" : t("keys.asIs")}
        value={f.days}
        onChange={(v) => set({ days: typeof v === "number" ? v : "" })}
        min={1}
        max={365}
        allowDecimal={false}
      />
    </>
  );
}

export function NewKey({
  who,
  onMade,
  onClose,
}: {
  who: Whoami;
  onMade: (made: { key?: string; name: string }) => void;
  onClose: () => void;
}) {
  const { t } = useTranslation("access");
  const [f, setF] = useState<KeyForm>({ name: "", role: "inference", owner: "", models: [], routes: [], days: "" });
  async function submit() {
    onMade(await createKey(createKeyOf(f, who.id)));
    return false; // the dialog has given way to the one that shows the key
  }
  return (
    <FormDialog title={t("keys.new")} action={t("keys.make")} onSubmit={submit} onClose={onClose} disabled={f.name.trim() === ""}>
      <Fields f={f} set={(c) => setF({ ...f, ...c })} who={who} isNew />
    </FormDialog>
  );
}

/** Changes a key from what it is now. If somebody else changes it meanwhile, that is shown, and nothing is overwritten unseen. */
export function EditKey({ id, who, onClose }: { id: string; who: Whoami; onClose: () => void }) {
  const { t } = useTranslation("access");
  const key = useKey(id);
  if (!key.data) {
    return (
      <FormDialog title={t("keys.edit")} action={t("keys.saveKey")} onSubmit={async () => {}} onClose={onClose} disabled>
        <Faces of={key} rows={4}>
          {() => null}
        </Faces>
      </FormDialog>
    );
  }
  return <EditForm at={key.data} who={who} onClose={onClose} reload={async () => (await key.refetch()).data} />;
}

type At = { key: Key; etag: string };

function formOf(k: Key): KeyForm {
  return { name: k.name, role: k.role, owner: k.owner, models: k.scopes.models ?? [], routes: k.scopes.routes ?? [], days: "" };
}

function EditForm({ at, who, onClose, reload }: { at: At; who: Whoami; onClose: () => void; reload: () => Promise<At | undefined> }) {
  const { t } = useTranslation("access");
  const [base, setBase] = useState(at);
  const [f, setF] = useState(() => formOf(at.key));
  const [now, setNow] = useState<At | null>(null);
  const change = updateKeyOf(f, base.key);
  async function submit() {
    if (!change) return;
    try {
      await updateKey(base.key.id, change, base.etag);
      done(t("keys.changed", { name: f.name }));
    } catch (e) {
      const is = e instanceof ApiError && e.status === 412 ? await reload() : undefined;
      if (!is) throw e;
      setNow(is);
      return false; // what is shown instead says it
    }
  }
  function goOn(to: At, form: KeyForm) {
    setBase(to);
    setF(form);
    setNow(null);
  }
  return (
    <FormDialog
      title={t("keys.editTitle", { name: inert(base.key.name, 60) })}
      action={t("keys.saveKey")}
      onSubmit={submit}
      onClose={onClose}
      disabled={!change || now !== null}
    >
      <Fields f={f} set={(c) => setF({ ...f, ...c })} who={who} />
      {now && (
        <Changed
          lines={differences(base.key, now.key).map((d) => ({ field: t(`keys.field.${d.field}`), was: d.from, is: d.to }))}
          onTheirs={() => goOn(now, formOf(now.key))}
          onMine={() => goOn(now, rebase(formOf(base.key), f, formOf(now.key)))}
        />
      )}
    </FormDialog>
  );
}
