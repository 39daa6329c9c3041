import { Button, Group, Modal, Stack, Text, TextInput } from "@mantine/core";
import { type FormEvent, type ReactNode, useState } from "react";
import { useTranslation } from "react-i18next";
import { ErrorNote } from "./faces";

type Props = {
  title: string;
  children?: ReactNode;
  action: string;
  /** What has to be typed before the button works; without it a press is enough. */
  typed?: string;
  danger?: boolean;
  /** Does it; what it throws is shown, and the dialog stays. */
  onConfirm: () => Promise<unknown>;
  onClose: () => void;
};

/** Asks before something is done that cannot be taken back. */
export function Confirm(p: Props) {
  const { t } = useTranslation();
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  async function submit(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await p.onConfirm();
      p.onClose();
    } catch (e) {
      setError(e);
      setBusy(false);
    }
  }
  return (
    <Modal opened onClose={p.onClose} title={p.title} closeButtonProps={{ "aria-label": t("close") }}>
      <form onSubmit={submit}>
        <Stack>
          {p.children}
          {p.typed !== undefined && (
            <TextInput
              data-autofocus
              autoComplete="off"
              spellCheck={false}
              label={
                <Text span size="sm">
                  {t("confirm.type")} <b className="mono foreign">{p.typed}</b>
                </Text>
              }
              value={text}
              onChange={(e) => setText(e.currentTarget.value)}
            />
          )}
          {error !== null && <ErrorNote error={error} />}
          <Group justify="flex-end">
            <Button variant="default" onClick={p.onClose}>
              {t("cancel")}
            </Button>
            <Button type="submit" color={p.danger ? "red" : undefined} loading={busy} disabled={p.typed !== undefined && text !== p.typed}>
              {p.action}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
