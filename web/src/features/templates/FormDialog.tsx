import { Button, Group, Modal, Stack } from "@mantine/core";
import { type FormEvent, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { ApiError } from "../../api/client";
import { inert } from "../../lib/format";
import { rebase } from "../../lib/rebase";
import { Changed } from "../../ui/Changed";
import { ErrorNote, Faces } from "../../ui/faces";
import { done } from "../../ui/notify";
import { Fields } from "./Fields";
import { createOf, differences, type Form, formOf, problems, updateOf } from "./logic";
import { create, load, type Marked, update, useTemplate } from "./queries";

/** Writes a template, or changes the one that `id` names. */
export function FormDialog({ id, onClose }: { id?: string; onClose: () => void }) {
  const { t } = useTranslation(["templates", "common"]);
  const template = useTemplate(id);
  return (
    <Modal
      opened
      onClose={onClose}
      size="xl"
      title={id ? t("editTitle", { name: inert(template.data?.template.name ?? id, 60) }) : t("makeTitle")}
      closeButtonProps={{ "aria-label": t("common:close") }}
    >
      {id ? (
        <Faces of={template} rows={5}>
          {(m) => <Editor seen={m} onClose={onClose} />}
        </Faces>
      ) : (
        <Editor seen={null} onClose={onClose} />
      )}
    </Modal>
  );
}

function Editor({ seen: first, onClose }: { seen: Marked | null; onClose: () => void }) {
  const { t } = useTranslation(["templates", "common"]);
  const [seen, setSeen] = useState(first);
  const [form, setForm] = useState<Form>(() => formOf(first?.template ?? null));
  const [newer, setNewer] = useState<Marked | null>(null);
  const [busy, setBusy] = useState(false);
  const [tried, setTried] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const element = useRef<HTMLFormElement>(null);
  const wrong = problems(form);
  async function save() {
    setTried(true);
    if (Object.keys(wrong).length > 0) {
      // What is wrong may be out of sight: it is where the next key goes. It is marked once this has been drawn.
      requestAnimationFrame(() => element.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus());
      return;
    }
    setBusy(true);
    setError(null);
    try {
      if (seen) await update(seen.template.template_id, seen.etag, updateOf(form, seen.template));
      else await create(createOf(form));
      done(t("saved", { name: inert(form.name, 60) }));
      onClose();
      return;
    } catch (e) {
      if (e instanceof ApiError && e.status === 412 && seen) setNewer(await load(seen.template.template_id).catch(() => null));
      setError(e);
    }
    setBusy(false);
  }
  function goOn(from: Marked, to: Marked, keepMine: boolean) {
    setSeen(to);
    setForm(keepMine ? rebase(formOf(from.template), form, formOf(to.template)) : formOf(to.template));
    setNewer(null);
    setError(null);
  }
  return (
    <form
      noValidate
      ref={element}
      onSubmit={(e: FormEvent) => {
        e.preventDefault();
        save();
      }}
    >
      <Stack>
        <Fields
          form={form}
          onChange={(change) => setForm((f) => ({ ...f, ...change }))}
          wrong={tried ? wrong : {}}
          told={error instanceof ApiError ? error.details : []}
          isNew={!seen}
        />
        {newer && seen ? (
          <Changed
            lines={differences(seen.template, newer.template).map((d) => ({ ...d, field: t(`field.${d.field}`) }))}
            onTheirs={() => goOn(seen, newer, false)}
            onMine={() => goOn(seen, newer, true)}
          />
        ) : (
          error !== null && <ErrorNote error={error} />
        )}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            {t("common:cancel")}
          </Button>
          {!newer && (
            <Button type="submit" loading={busy}>
              {t("common:save")}
            </Button>
          )}
        </Group>
      </Stack>
    </form>
  );
}
