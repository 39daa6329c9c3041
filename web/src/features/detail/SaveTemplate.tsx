import { Select, Textarea, TextInput } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { Schemas } from "../../api/client";
import type { ModelDetail } from "../../api/models";
import { Confirm } from "../../ui/Confirm";
import { done } from "../../ui/notify";
import { saveAsTemplate } from "./queries";

type Category = NonNullable<Schemas["SaveTemplate"]["category"]>;
const categories: Category[] = ["llm", "embedding", "rerank", "vlm", "audio"];

/** Makes a template of a model as it runs. */
export function SaveTemplate({ model: m, onClose }: { model: ModelDetail; onClose: () => void }) {
  const { t } = useTranslation("detail");
  const [name, setName] = useState(m.model_uid);
  const [description, setDescription] = useState("");
  const [category, setCategory] = useState<Category>("llm");
  return (
    <Confirm
      title={t("template.title")}
      action={t("template.save")}
      onClose={onClose}
      onConfirm={async () => {
        await saveAsTemplate(m.model_uid, { name: name.trim(), description: description.trim() || undefined, category });
        done(t("template.done", { name: name.trim() }));
      }}
    >
      <TextInput data-autofocus required label={t("template.name")} value={name} onChange={(e) => setName(e.currentTarget.value)} />
      <Select
        label={t("template.category")}
        data={categories.map((c) => ({ value: c, label: t(`category.${c}`) }))}
        value={category}
        allowDeselect={false}
        onChange={(c) => setCategory((c as Category) ?? "llm")}
      />
      <Textarea
        label={t("template.description")}
        autosize
        minRows={2}
        value={description}
        onChange={(e) => setDescription(e.currentTarget.value)}
      />
    </Confirm>
  );
}
