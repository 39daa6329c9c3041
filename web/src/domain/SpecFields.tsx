import { Autocomplete, Select, SimpleGrid, Stack, Textarea, TextInput } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { SpecField, SpecForm } from "./modelForm";
import { sourceName } from "./sources";

type Props = { form: SpecForm; errors: Partial<Record<SpecField, string>>; onChange: (change: Partial<SpecForm>) => void };

/** The fields of a model's spec, for whoever makes or changes one. */
export function SpecFields({ form, errors, onChange }: Props) {
  const { t } = useTranslation("create");
  const text = (k: SpecField, more: { description?: string; placeholder?: string; mono?: boolean } = {}) => ({
    label: t(`field.${k}`),
    description: more.description,
    placeholder: more.placeholder,
    value: form[k],
    error: errors[k],
    spellCheck: false,
    autoComplete: "off",
    name: k,
    onChange: (e: { currentTarget: { value: string } }) => onChange({ [k]: e.currentTarget.value }),
  });
  const local = form.model_source === "local";
  return (
    <Stack gap="sm">
      <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="sm">
        <Select
          label={t("field.model_source")}
          data={(["hugging_face", "model_scope", "local"] as const).map((s) => ({ value: s, label: sourceName[s] ?? t("local") }))}
          value={form.model_source}
          error={errors.model_source}
          allowDeselect={false}
          onChange={(s) => onChange({ model_source: (s as SpecForm["model_source"]) ?? "hugging_face" })}
        />
        <TextInput required {...text("model_name", { placeholder: local ? "my-model" : "Qwen/Qwen2.5-0.5B-Instruct-GGUF" })} />
      </SimpleGrid>
      {(local || form.model_path) && <TextInput required={local} {...text("model_path", { description: t("hint.model_path") })} />}
      <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="sm">
        <Autocomplete
          {...text("engine_type", { placeholder: t("hint.engine_type") })}
          data={["llamacpp", "vllm", "sglang"]}
          onChange={(engine_type) => onChange({ engine_type })}
        />
        <TextInput inputMode="numeric" {...text("max_model_len", { placeholder: t("hint.byModel") })} />
        <TextInput inputMode="numeric" {...text("tensor_parallel_size", { placeholder: t("hint.one") })} />
        <TextInput inputMode="decimal" {...text("gpu_memory_utilization", { placeholder: t("hint.byEngine") })} />
        <TextInput inputMode="numeric" {...text("required_vram_mb", { placeholder: t("hint.any") })} />
        {!local && <TextInput {...text("revision", { placeholder: t("hint.revision") })} />}
        {!local && <TextInput {...text("token_secret", { placeholder: t("hint.token_secret") })} />}
      </SimpleGrid>
      <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="sm">
        {!local && <Textarea autosize minRows={2} {...text("files", { description: t("hint.files") })} />}
        <Textarea autosize minRows={2} {...text("lora_modules", { description: t("hint.lora_modules") })} />
        <Textarea autosize minRows={2} {...text("labels", { description: t("hint.labels") })} />
      </SimpleGrid>
    </Stack>
  );
}
