import { NativeSelect, SimpleGrid, Textarea, TextInput } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { Form, problems } from "./logic";
import { categories } from "./search";

type Props = {
  form: Form;
  onChange: (change: Partial<Form>) => void;
  wrong: ReturnType<typeof problems>;
  told: { field: string; reason: string }[];
  isNew: boolean;
};

/** The fields of a template. What the server says of one stands beside it. */
export function Fields({ form, onChange, wrong, told, isNew }: Props) {
  const { t } = useTranslation("templates");
  const field = (name: keyof Form) => {
    const word = wrong[name];
    const said = told.find((d) => d.field === name || d.field === `config.${name}` || (name === "labels" && d.field.startsWith("labels")));
    return {
      label: t(`field.${name}`),
      value: form[name],
      error: word ? t(`wrong.${word}`) : said?.reason,
      onChange: (e: { currentTarget: { value: string } }) => onChange({ [name]: e.currentTarget.value }),
      autoComplete: "off",
      spellCheck: false,
    };
  };
  const local = form.model_source === "local";
  return (
    <>
      <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="sm">
        <TextInput data-autofocus required {...field("name")} spellCheck />
        {isNew ? (
          <TextInput {...field("template_id")} placeholder={t("hint.template_id")} />
        ) : (
          <TextInput {...field("template_id")} disabled />
        )}
        <NativeSelect
          {...field("category")}
          data={[{ value: "", label: t("noCategory") }, ...categories.map((value) => ({ value, label: t(`categories.${value}`) }))]}
        />
        <NativeSelect
          {...field("model_source")}
          data={[
            { value: "hugging_face", label: "Hugging Face" },
            { value: "model_scope", label: "ModelScope" },
            { value: "local", label: t("local") },
          ]}
        />
        <TextInput required {...field("model_name")} placeholder="Qwen/Qwen2.5-0.5B-Instruct-GGUF" />
        {local ? (
          <TextInput required {...field("model_path")} placeholder="/srv/models/model.gguf" />
        ) : (
          <TextInput {...field("revision")} placeholder="main" />
        )}
        <NativeSelect {...field("engine_type")} data={[{ value: "", label: t("anyEngine") }, "llamacpp", "vllm", "sglang"]} />
        <TextInput {...field("default_replicas")} inputMode="numeric" />
        <TextInput {...field("max_model_len")} inputMode="numeric" />
        <TextInput {...field("tensor_parallel_size")} inputMode="numeric" />
        <TextInput {...field("gpu_memory_utilization")} inputMode="decimal" placeholder="0.9" />
        <TextInput {...field("required_vram_mb")} inputMode="numeric" />
        <TextInput {...field("token_secret")} />
        <TextInput {...field("licence")} placeholder="Apache-2.0" />
      </SimpleGrid>
      <TextInput {...field("homepage")} placeholder="https://" />
      <Textarea {...field("description")} autosize minRows={2} spellCheck />
      <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="sm">
        <Textarea {...field("labels")} autosize minRows={2} placeholder={"team=search\ntier=gold"} />
        <Textarea {...field("files")} autosize minRows={2} placeholder="Q4_K_M" />
      </SimpleGrid>
    </>
  );
}
