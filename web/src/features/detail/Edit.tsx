// In a chunk of its own, with what finds differences.
import { Button, Group, Modal, Stack, Text } from "@mantine/core";
import { diffLines } from "diff";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { ApiError, type Schemas, send } from "../../api/client";
import type { ModelDetail } from "../../api/models";
import { faultsOf, fieldOf, fields, formOf, patchOf, type SpecField, specOf } from "../../domain/modelForm";
import { SpecFields } from "../../domain/SpecFields";
import { Verdict } from "../../domain/Verdict";
import { rebase } from "../../lib/rebase";
import { Changed } from "../../ui/Changed";
import { ErrorNote } from "../../ui/faces";
import { done } from "../../ui/notify";

type Written = Schemas["ModelWritten"];

/** Changes a model's spec under the revision that was seen when the form was opened; whoever was faster is not overwritten. */
export default function Edit({ model: m, onClose }: { model: ModelDetail; onClose: () => void }) {
  const { t } = useTranslation(["detail", "create", "common"]);
  const [base, setBase] = useState({ form: formOf(m.spec ?? {}), revision: m.revision });
  const [form, setForm] = useState(base.form);
  const [error, setError] = useState<unknown>(null);
  const [verdict, setVerdict] = useState<Written | null>(null);
  const [busy, setBusy] = useState(false);
  const theirs = formOf(m.spec ?? {});
  const moved = m.revision !== base.revision;
  const faults = faultsOf(form);
  const errors: Partial<Record<SpecField, string>> = {};
  for (const d of error instanceof ApiError ? error.details : []) {
    const f = fieldOf(d.field);
    if (f) errors[f] = d.reason;
  }
  for (const [k, v] of Object.entries(faults)) errors[k as SpecField] = t(`create:fault.${v}`);
  const patch = patchOf(specOf(base.form), specOf(form));
  const changed = Object.keys(patch).length > 0;
  async function ask(dry: boolean) {
    setBusy(true);
    setError(null);
    try {
      const out = await send<Written>("PATCH", `/api/v2/models/${encodeURIComponent(m.model_uid)}${dry ? "?dry_run=1" : ""}`, patch, {
        "If-Match": `"${base.revision}"`,
      });
      if (dry) setVerdict(out);
      else {
        done(t("edit.done", { uid: m.model_uid }));
        onClose();
      }
    } catch (e) {
      setError(e);
    }
    setBusy(false);
  }
  function goOn(to: typeof form) {
    setForm(to);
    setBase({ form: theirs, revision: m.revision });
    setError(null);
    setVerdict(null);
  }
  function submit(event: FormEvent) {
    event.preventDefault();
    ask(false);
  }
  return (
    <Modal
      opened
      size="xl"
      onClose={onClose}
      title={t("edit.title", { uid: m.model_uid })}
      closeButtonProps={{ "aria-label": t("common:close") }}
    >
      <form onSubmit={submit} noValidate>
        <Stack>
          {moved && (
            <Changed
              lines={fields
                .filter((k) => base.form[k] !== theirs[k])
                .map((k) => ({ field: t(`create:field.${k}`), was: base.form[k], is: theirs[k] }))}
              onTheirs={() => goOn(theirs)}
              onMine={() => goOn(rebase(base.form, form, theirs))}
            />
          )}
          <SpecFields
            form={form}
            errors={errors}
            onChange={(c) => {
              setForm({ ...form, ...c });
              setVerdict(null);
            }}
          />
          {changed && <Diff before={specOf(base.form)} after={specOf(form)} label={t("edit.yours")} />}
          {verdict && m.deployment?.desired_state === "running" && <Verdict explanation={verdict.explanation} />}
          {verdict && m.deployment?.desired_state !== "running" && <Text size="sm">{t("edit.valid")}</Text>}
          {error !== null && <ErrorNote error={error} />}
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t("common:cancel")}
            </Button>
            <Button variant="default" disabled={!changed || Object.keys(faults).length > 0} loading={busy} onClick={() => ask(true)}>
              {t("edit.check")}
            </Button>
            <Button type="submit" disabled={!changed || moved || Object.keys(faults).length > 0} loading={busy}>
              {t("common:save")}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}

/** What is taken out and what is put in, line by line. */
function Diff({ before, after, label }: { before: object; after: object; label: string }) {
  const parts = diffLines(JSON.stringify(before, null, 2), JSON.stringify(after, null, 2));
  const lines = parts.flatMap((p) =>
    p.value
      .replace(/\n$/, "")
      .split("\n")
      .map((l) => `${p.added ? "+" : p.removed ? "-" : " "} ${l}`),
  );
  return (
    <pre
      className="log"
      role="region"
      tabIndex={0}
      aria-label={label}
      style={{ maxHeight: 220, overflow: "auto", width: "100%", background: "var(--nebula-ground)" }}
    >
      {lines.map((l, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: lines have no other name
        <DiffLine key={i} text={l} />
      ))}
    </pre>
  );
}

const lineColor: Record<string, string> = { "+": "var(--mantine-color-teal-light-color)", "-": "var(--mantine-color-red-light-color)" };

function DiffLine({ text }: { text: string }) {
  return <div style={{ color: lineColor[text.charAt(0)] }}>{text}</div>;
}
