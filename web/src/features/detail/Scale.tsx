import { NumberInput, Text } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ModelDetail } from "../../api/models";
import { scaleModel } from "../../domain/modelDeeds";
import { Confirm } from "../../ui/Confirm";

/** Asks how many replicas there should be. */
export function Scale({ model: m, onClose }: { model: ModelDetail; onClose: () => void }) {
  const { t } = useTranslation("detail");
  const [n, setN] = useState<number | string>(m.deployment?.replicas ?? 1);
  return (
    <Confirm
      title={t("scale.title")}
      action={t("action.scale")}
      onClose={onClose}
      onConfirm={async () => {
        if (typeof n !== "number") throw new Error(t("scale.number"));
        await scaleModel(m.model_uid, n);
      }}
    >
      <NumberInput
        data-autofocus
        label={t("field.replicas")}
        description={t("scale.now", { ready: m.replicas.ready, desired: m.deployment?.replicas ?? m.replicas.desired })}
        min={0}
        max={4294967295}
        allowDecimal={false}
        allowNegative={false}
        value={n}
        onChange={setN}
      />
      {n === 0 && <Text size="sm">{t("scale.zero")}</Text>}
    </Confirm>
  );
}
