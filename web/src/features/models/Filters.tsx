import { Badge, CloseButton, Group } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { memo, useState } from "react";
import { useTranslation } from "react-i18next";
import { modelStates, stateColor } from "../../domain/status";
import { inert, number } from "../../lib/format";
import type { Summary } from "./queries";
import type { ModelsSearch } from "./search";

type Props = {
  search: ModelsSearch;
  onChange: (change: Partial<ModelsSearch>) => void;
  states?: Summary;
  engines?: Summary["engines"];
  rest?: Summary;
};

/** What narrows the list beside the search. `states` and `engines` count the models of each under the other filters, so that another can be chosen;
 * `rest` those of labels under all of them. */
export const Filters = memo(function Filters({ search, onChange, states, engines: counted, rest }: Props) {
  const { t, i18n } = useTranslation(["models", "common"]);
  const n = (x: number | undefined) => (x === undefined ? "" : number(x, i18n.language));
  const chosen = search.label ?? [];
  const engines = Object.entries(counted ?? {});
  if (search.engine && !engines.some(([e]) => e === search.engine)) engines.push([search.engine, 0]);
  return (
    <>
      <select
        className="field"
        aria-label={t("filter.engine")}
        value={search.engine ?? ""}
        onChange={(e) => onChange({ engine: e.currentTarget.value || undefined })}
      >
        <option value="">{t("filter.anyEngine")}</option>
        {engines.map(([e, c]) => (
          <option key={e} value={e}>
            {e} ({n(c)})
          </option>
        ))}
      </select>
      <LabelField labels={rest?.labels} chosen={chosen} onChoose={(l) => onChange({ label: [...chosen, l] })} />
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

type LabelFieldProps = { labels: Summary["labels"] | undefined; chosen: string[]; onChoose: (label: string) => void };

/** The labels to choose from, by their keys. There can be hundreds, so they are drawn when people turn to the field. */
function LabelField({ labels, chosen, onChoose }: LabelFieldProps) {
  const { t, i18n } = useTranslation("models");
  const [near, setNear] = useState(false);
  const more = (count: number | undefined) => (count ? <option disabled>{t("bulk.more", { count })}</option> : null);
  return (
    <select
      className="field"
      aria-label={t("filter.byLabel")}
      value=""
      onPointerEnter={() => setNear(true)}
      onFocus={() => setNear(true)}
      onChange={(e) => onChoose(e.currentTarget.value)}
    >
      <option value="">{t(labels?.length === 0 ? "filter.noLabels" : "filter.byLabel")}</option>
      {near &&
        labels?.map((l) => (
          <optgroup key={l.key} label={inert(l.key, 50)}>
            {l.values
              .map(({ value, models }) => ({ label: `${l.key}=${value}`, models }))
              .filter(({ label }) => !chosen.includes(label))
              .map(({ label, models }) => (
                <option key={label} value={label}>
                  {inert(label, 50)} ({number(models, i18n.language)})
                </option>
              ))}
            {more(l.more_values)}
          </optgroup>
        ))}
    </select>
  );
}

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
    <span className="search">
      <IconSearch size={16} aria-hidden="true" />
      <input
        type="search"
        className="field"
        maxLength={200}
        aria-label={t("filter.search")}
        placeholder={t("filter.search")}
        value={value}
        onChange={(e) => onType(e.currentTarget.value)}
      />
    </span>
  );
}
