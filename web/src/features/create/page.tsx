import { Button, Grid, Group, SegmentedControl, Stack, Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { type FormEvent, useEffect, useMemo, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { ApiError } from "../../api/client";
import { emptySpec, faultsOf, fieldOf, formOf, type SpecField } from "../../domain/modelForm";
import { SpecFields } from "../../domain/SpecFields";
import { useMay } from "../../domain/session";
import { Verdict } from "../../domain/Verdict";
import { PageHead, Section } from "../../ui/bits";
import { Empty, ErrorNote } from "../../ui/faces";
import { Hub } from "./Hub";
import { bodyOf, gpusOf, type NewModel, noWish } from "./logic";
import { createModel, freshKey, type Template, useDryRun, useTemplates } from "./queries";
import { Same } from "./Same";
import { type CreateSearch, type Way, ways } from "./search";
import { Templates } from "./Templates";
import { Wishes } from "./Wishes";

export function CreatePage() {
  const { t } = useTranslation("create");
  if (useMay("operator")) return <Create />;
  return (
    <>
      <PageHead title={t("title")} />
      <Empty title={t("not.title")}>{t("not.text")}</Empty>
    </>
  );
}

/** Makes a model, and shows what would become of it before it is made. */
function Create() {
  const { t } = useTranslation("create");
  const search = useSearch({ from: "/shell/new" });
  const navigate = useNavigate({ from: "/new" });
  const [model, setModel] = useState<NewModel>({ spec: { ...emptySpec, model_name: search.name ?? "" }, wish: noWish });
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const way: Way = search.from ?? "template";
  const taken = useRef("");
  const templates = useTemplates();
  const use = (x: Template) => {
    taken.current = x.template_id;
    setModel((m) => ({ spec: formOf(x), wish: { ...m.wish, replicas: String(x.default_replicas) } }));
  };
  // The template that the address names is taken once it is known.
  const named = templates.data?.find((x) => x.template_id === search.template);
  useEffect(() => {
    if (!named || taken.current === named.template_id) return;
    taken.current = named.template_id;
    setModel((m) => ({ spec: formOf(named), wish: { ...m.wish, replicas: String(named.default_replicas) } }));
  }, [named]);
  const faults = faultsOf(model.spec);
  const body = JSON.stringify(bodyOf(model));
  // One key for one content: pressed twice, it is made once; changed, it is another request.
  // biome-ignore lint/correctness/useExhaustiveDependencies: the content is what makes it another key
  const key = useMemo(freshKey, [body]);
  const sendable =
    model.spec.model_name.trim() !== "" &&
    Object.keys(faults).length === 0 &&
    gpusOf(model.wish.gpu_indices) !== null &&
    (!model.wish.auto_start || /^\d{1,10}$/.test(model.wish.replicas.trim()));
  const [asked] = useDebouncedValue(body, 350);
  const dry = useDryRun(asked, sendable && asked === body);
  const told = error ?? (sendable ? dry.error : null);
  const specErrors: Partial<Record<SpecField, string>> = {};
  const wishErrors: Record<string, string> = {};
  for (const d of told instanceof ApiError ? told.details : []) {
    const f = fieldOf(d.field);
    if (f) specErrors[f] = d.reason;
    else wishErrors[d.field] = d.reason;
  }
  for (const [k, v] of Object.entries(faults)) specErrors[k as SpecField] = t(`fault.${v}`);
  const change = (c: Partial<NewModel>) => {
    setError(null);
    setModel((m) => ({ ...m, ...c }));
  };
  async function submit(event: FormEvent) {
    event.preventDefault();
    if (busy || !sendable) return;
    setBusy(true);
    try {
      const made = await createModel(body, key);
      navigate({ to: "/models/$uid", params: { uid: made.model_uid }, search: {} });
    } catch (e) {
      setError(e);
      setBusy(false);
    }
  }
  return (
    <form onSubmit={submit} noValidate>
      <PageHead title={t("title")} lead={t("lead")} />
      <Grid gap="md">
        <Grid.Col span={{ base: 12, lg: 7 }}>
          <Stack>
            <Section title={t("from.label")}>
              <SegmentedControl
                mb="sm"
                aria-label={t("from.label")}
                value={way}
                onChange={(v) => navigate({ search: (s: CreateSearch) => ({ ...s, from: v as Way }), replace: true })}
                data={ways.map((w) => ({ value: w, label: t(`from.${w}`) }))}
              />
              {way === "template" && <Templates chosen={taken.current} onChoose={use} />}
              {way === "hub" && (
                <Hub
                  first={search.name ?? ""}
                  onChoose={(model_name, model_source) =>
                    change({ spec: { ...emptySpec, model_name, model_source, labels: model.spec.labels } })
                  }
                />
              )}
              <SpecFields form={model.spec} errors={specErrors} onChange={(c) => change({ spec: { ...model.spec, ...c } })} />
            </Section>
          </Stack>
        </Grid.Col>
        <Grid.Col span={{ base: 12, lg: 5 }}>
          <Stack>
            <Section title={t("verdict.title")}>
              <Stack>
                <Wishes wish={model.wish} errors={wishErrors} onChange={(c) => change({ wish: { ...model.wish, ...c } })} />
                {told ? (
                  <ErrorNote error={told} title={error ? t("failed") : undefined} />
                ) : sendable && dry.data && !model.wish.auto_start ? (
                  <Text size="sm">{t("verdict.valid")}</Text>
                ) : sendable && dry.data ? (
                  <Verdict explanation={dry.data.explanation} />
                ) : (
                  <Text size="sm" c="dimmed">
                    {t("verdict.waiting")}
                  </Text>
                )}
                <Group justify="flex-end">
                  <Button type="submit" loading={busy} disabled={!sendable}>
                    {t("create")}
                  </Button>
                </Group>
              </Stack>
            </Section>
            <Same model={model} />
          </Stack>
        </Grid.Col>
      </Grid>
    </form>
  );
}
