import { Select } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { inert } from "../../lib/format";
import type { Answering } from "./queries";

type Props = { models: Answering[]; value: string | undefined; label: string; onChange: (model: string) => void; hidden?: boolean };

/** Chooses among the models that answer now. One that does not any more stays visible, so that nobody wonders where it went. */
export function ModelPick({ models, value, label, onChange, hidden }: Props) {
  const { t } = useTranslation("playground");
  const gone = value !== undefined && !models.some((m) => m.id === value);
  const data = models.map((m) => ({ value: m.id, label: inert(m.id, 120) }));
  if (gone) data.unshift({ value, label: t("pick.gone", { model: inert(value, 80) }) });
  return (
    <Select
      label={hidden ? undefined : label}
      aria-label={hidden ? label : undefined}
      placeholder={t("pick.placeholder")}
      data={data}
      value={value ?? null}
      onChange={(v) => v !== null && onChange(v)}
      searchable
      limit={100}
      nothingFoundMessage={t("pick.nothing")}
      allowDeselect={false}
      checkIconPosition="right"
      flex={1}
      maw={420}
      miw={0}
    />
  );
}
