import { Badge, Code, Grid, Group, List, Stack, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { ModelDetail } from "../../api/models";
import { DownloadBar, ReasonText, StatePill } from "../../domain/ModelBits";
import { progressOf } from "../../domain/progress";
import { inert, number } from "../../lib/format";
import { Copy, Section } from "../../ui/bits";
import { ErrorNote, Loading, sentence } from "../../ui/faces";
import { Declared } from "./Declared";
import { Fits } from "./Fits";
import { useExplanation } from "./queries";

/** What a model is, what it does now and why, and how it is reached. */
export function Overview({ model: m }: { model: ModelDetail }) {
  const { t } = useTranslation("detail");
  const why = useExplanation(m.model_uid, `${m.state} ${m.revision} ${m.reason?.code} ${m.replicas.ready}`);
  return (
    <Grid gap="md">
      <Grid.Col span={{ base: 12, lg: 7 }}>
        <Stack>
          <Section title={t("state.title")}>
            <State model={m} />
            {(why.data?.help ?? []).length > 0 && (
              <>
                <Text size="sm" fw={600} mt="sm">
                  {t("state.help")}
                </Text>
                <List size="sm">
                  {why.data!.help!.map((h) => (
                    <List.Item key={h} className="foreign">
                      {sentence(h)}
                    </List.Item>
                  ))}
                </List>
              </>
            )}
          </Section>
          <Section title={t("fit.title")}>
            {why.data ? (
              <Fits why={why.data} />
            ) : why.error ? (
              <ErrorNote error={why.error} retry={() => why.refetch()} />
            ) : (
              <Loading rows={2} />
            )}
          </Section>
        </Stack>
      </Grid.Col>
      <Grid.Col span={{ base: 12, lg: 5 }}>
        <Stack>
          <Section title={t("reach.title")}>
            <Reach uid={m.model_uid} ready={m.replicas.ready > 0} />
          </Section>
          <Section title={t("declared.title")}>
            <Declared model={m} />
          </Section>
          <Section title={t("labels.title")}>
            <Labels labels={m.labels} />
          </Section>
        </Stack>
      </Grid.Col>
    </Grid>
  );
}

function State({ model: m }: { model: ModelDetail }) {
  const { t, i18n } = useTranslation("detail");
  const { t: common } = useTranslation();
  const l = i18n.language;
  const progress = progressOf(m.download_progress?.replicas);
  return (
    <Stack gap="xs">
      <Group gap="sm">
        <StatePill state={m.state} t={common} />
        <Text size="sm">{t("state.ready", { ready: number(m.replicas.ready, l), desired: number(m.replicas.desired, l) })}</Text>
        {m.replicas.unhealthy > 0 && (
          <Text size="sm" c="var(--mantine-color-red-light-color)">
            {t("state.unhealthy", { count: m.replicas.unhealthy })}
          </Text>
        )}
      </Group>
      {m.reason && <ReasonText reason={m.reason} />}
      {progress && <DownloadBar progress={progress} />}
    </Stack>
  );
}

function Reach({ uid, ready }: { uid: string; ready: boolean }) {
  const { t } = useTranslation("detail");
  const base = `${location.origin}/v1`;
  return (
    <Stack gap="xs">
      <Text size="sm" c="dimmed">
        {t(ready ? "reach.text" : "reach.notYet")}
      </Text>
      {[
        [t("reach.address"), base],
        [t("reach.model"), uid],
      ].map(([name, value]) => (
        <Group key={name} gap="xs" wrap="nowrap">
          <Text size="sm" w={90} c="dimmed" style={{ flex: "none" }}>
            {name}
          </Text>
          <Code className="foreign">{value}</Code>
          <Copy text={value!} label={t("reach.copy", { name })} />
        </Group>
      ))}
    </Stack>
  );
}

function Labels({ labels }: { labels: ModelDetail["labels"] }) {
  const { t } = useTranslation("detail");
  const all = Object.entries(labels ?? {});
  if (all.length === 0)
    return (
      <Text size="sm" c="dimmed">
        {t("labels.none")}
      </Text>
    );
  return (
    <Group gap="xs">
      {all.map(([k, v]) => (
        <Badge key={k} color="gray" variant="default" maw="100%" fw={500} size="lg">
          <bdi>{inert(v ? `${k}=${v}` : k, 80)}</bdi>
        </Badge>
      ))}
    </Group>
  );
}
