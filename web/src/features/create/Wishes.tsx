import { Autocomplete, SimpleGrid, Stack, Switch, TextInput } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { Schemas } from "../../api/client";
import { useLive } from "../../api/live";
import { gpusOf, type Wish } from "./logic";

type Props = { wish: Wish; errors: Record<string, string>; onChange: (change: Partial<Wish>) => void };

/** What is wished of a new model: its uid, whether it starts, how often and where. */
export function Wishes({ wish, errors, onChange }: Props) {
  const { t } = useTranslation("create");
  const nodes = useLive<Schemas["NodeView"][]>("/api/v2/nodes");
  const text = (k: "model_uid" | "replicas" | "gpu_indices", placeholder?: string) => ({
    label: t(`field.${k}`),
    placeholder,
    name: k,
    value: wish[k],
    error: errors[k],
    autoComplete: "off",
    spellCheck: false,
    onChange: (e: { currentTarget: { value: string } }) => onChange({ [k]: e.currentTarget.value }),
  });
  return (
    <Stack gap="sm">
      <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="sm">
        <TextInput {...text("model_uid", t("hint.model_uid"))} />
        {wish.auto_start && (
          <TextInput
            inputMode="numeric"
            {...text("replicas")}
            error={errors.replicas ?? (/^\d{1,10}$/.test(wish.replicas.trim()) ? undefined : t("fault.number"))}
          />
        )}
        <Autocomplete
          label={t("field.node_id")}
          placeholder={t("hint.node_id")}
          data={(nodes.data ?? []).map((n) => n.node_id)}
          value={wish.node_id}
          error={errors.node_id}
          onChange={(node_id) => onChange({ node_id })}
        />
        {wish.node_id && (
          <TextInput
            {...text("gpu_indices", t("hint.gpu_indices"))}
            error={errors.gpu_indices ?? (gpusOf(wish.gpu_indices) === null ? t("fault.number") : undefined)}
          />
        )}
      </SimpleGrid>
      <Switch
        label={t("start")}
        description={t("startText")}
        checked={wish.auto_start}
        onChange={(e) => onChange({ auto_start: e.currentTarget.checked })}
      />
    </Stack>
  );
}
