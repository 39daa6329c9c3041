import { NumberInput, Text } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { inert } from "../../lib/format";
import { Confirm } from "../../ui/Confirm";
import { FormDialog } from "../../ui/FormDialog";
import { done } from "../../ui/notify";
import type { Key } from "./logic";
import { deleteKey, rotateKey } from "./queries";

export function RotateKey({
  of,
  onMade,
  onClose,
}: {
  of: Key;
  onMade: (made: { key?: string; name: string }) => void;
  onClose: () => void;
}) {
  const { t } = useTranslation("access");
  const [hours, setHours] = useState<number | "">(1);
  async function submit() {
    onMade(await rotateKey(of.id, hours === "" ? 0 : hours));
    return false;
  }
  return (
    <FormDialog title={t("keys.rotateTitle", { name: inert(of.name, 60) })} action={t("keys.rotate")} onSubmit={submit} onClose={onClose}>
      <Text size="sm">{t("keys.rotateHint")}</Text>
      <NumberInput
        label={t("keys.overlap")}
        description={t("keys.overlapHint")}
        value={hours}
        onChange={(v) => setHours(typeof v === "number" ? v : "")}
        min={0}
        max={24}
        allowDecimal={false}
        clampBehavior="strict"
      />
    </FormDialog>
  );
}

export function DeleteKey({ of, onClose }: { of: Key; onClose: () => void }) {
  const { t } = useTranslation("access");
  return (
    <Confirm
      title={t("keys.deleteTitle", { name: inert(of.name, 60) })}
      action={t("keys.delete")}
      typed={of.id}
      danger
      onConfirm={async () => {
        await deleteKey(of.id);
        done(t("keys.deleted", { name: inert(of.name, 60) }));
      }}
      onClose={onClose}
    >
      <Text size="sm">{t("keys.deleteHint")}</Text>
    </Confirm>
  );
}
