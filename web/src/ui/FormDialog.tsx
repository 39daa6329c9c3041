import { Button, Group, Modal, Stack } from "@mantine/core";
import { type FormEvent, type ReactNode, useState } from "react";
import { useTranslation } from "react-i18next";
import { ErrorNote } from "./faces";

type Props = {
  title: string;
  action: string;
  children: ReactNode;
  disabled?: boolean;
  size?: string;
  /** Does it; the dialog closes when it is done. What it throws is shown, and the dialog stays; false: it stays without a word. */
  onSubmit: () => Promise<unknown>;
  onClose: () => void;
};

/** A dialog with a form in it. */
export function FormDialog(p: Props) {
  const { t } = useTranslation();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  async function submit(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      if ((await p.onSubmit()) !== false) p.onClose();
    } catch (e) {
      setError(e);
    }
    setBusy(false);
  }
  return (
    <Modal opened onClose={p.onClose} title={p.title} size={p.size ?? "md"} closeButtonProps={{ "aria-label": t("close") }}>
      <form onSubmit={submit} noValidate>
        <Stack>
          {p.children}
          {error !== null && <ErrorNote error={error} />}
          <Group justify="flex-end">
            <Button variant="default" onClick={p.onClose}>
              {t("cancel")}
            </Button>
            <Button type="submit" loading={busy} disabled={p.disabled}>
              {p.action}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
