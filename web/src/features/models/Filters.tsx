import { Badge, CloseButton, Group, Select, TextInput } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { memo } from "react";
import { useTranslation } from "react-i18next";
import { modelStates, stateColor } from "../../domain/status";
import { inert, number } from "../../lib/format";
import type { Summary } from "./queries";
import type { ModelsSearch } from "./search";

type Props = {
  search: ModelsSearch;
  onChange: (change: Partial<ModelsSearch>) => void;
  states?: Summary;
  rest?: Summary;
};

/** What narrows the list beside the search. `states` counts the models of each state under the other filters, `rest` those of engines and labels. */
export const Filters = memo(function Filters({ search, onChange, states, rest }: Props) {
  const { t, i18n } = useTranslation(["models", "common"]);
  const n = (x: number | undefined) => (x === undefined ? "" : number(x, i18n.language));
  const labels = (rest?.labels ?? []).flatMap((l) => l.values.map((v) => ({ key: `${l.key}=${v.value}`, models: v.models })));
  const chosen = search.label ?? [];
  const engines = Object.entries(rest?.engines ?? {});
  if (search.engine && !engines.some(([e]) => e === search.engine)) engines.push([search.engine, 0]);
  return (
    <>
      <Select
        size="sm"
        w={160}
        aria-label={t("filter.engine")}
        placeholder={t("filter.engine")}
        clearable
        clearButtonProps={{ "aria-label": t("filter.clear") }}
        data={engines.map(([e, c]) => ({ value: e, label: `${e} (${n(c)})` }))}
        value={search.engine ?? null}
        onChange={(engine) => onChange({ engine: engine ?? undefined })}
      />
      <Select
        size="sm"
        w={200}
        searchable
        aria-label={t("filter.byLabel")}
        placeholder={t("filter.byLabel")}
        data={labels.filter((l) => !chosen.includes(l.key)).map((l) => ({ value: l.key, label: `${inert(l.key, 50)} (${n(l.models)})` }))}
        value={null}
        onChange={(l) => l && onChange({ label: [...chosen, l] })}
        nothingFoundMessage={t("filter.noLabels")}
      />
      {chosen.map((l) => (
        <Badge
          key={l}
          size="lg"
          rightSection={
            <CloseButton
              size="xs"
              aria-label={t("filter.without", { label: inert(l, 60) })}
              onClick={() => onChange({ label: chosen.filter((c) => c !== l) })}
            />
          }
        >
          <bdi>{inert(l, 40)}</bdi>
        </Badge>
      ))}
      <Group gap={6} w="100%" role="group" aria-label={t("filter.state")}>
        <StateButton text={t("filter.all")} count={n(states?.total)} on={!search.state} onPress={() => onChange({ state: undefined })} />
        {modelStates.map((s) => (
          <StateButton
            key={s}
            text={t(`common:state.${s}`)}
            color={stateColor[s]}
            count={n(states?.states[s])}
            on={search.state === s}
            onPress={() => onChange({ state: search.state === s ? undefined : s })}
          />
        ))}
      </Group>
    </>
  );
});

function StateButton(p: { text: string; count: string; color?: string; on: boolean; onPress: () => void }) {
  return (
    <button type="button" className="chip" aria-pressed={p.on} onClick={p.onPress}>
      {p.color && <span aria-hidden="true" className="dot" style={{ background: `var(--mantine-color-${p.color}-filled)` }} />}
      {p.text}
      {p.count && <b>{p.count}</b>}
    </button>
  );
}

export function Search({ value, onType }: { value: string; onType: (q: string) => void }) {
  const { t } = useTranslation("models");
  return (
    <TextInput
      type="search"
      style={{ flex: "1 1 220px" }}
      maw={420}
      maxLength={200}
      leftSection={<IconSearch size={16} aria-hidden="true" />}
      aria-label={t("filter.search")}
      placeholder={t("filter.search")}
      value={value}
      onChange={(e) => onType(e.currentTarget.value)}
    />
  );
}
