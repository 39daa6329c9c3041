import { Group, SegmentedControl, Stack, Text, TextInput, UnstyledButton } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { sourceName } from "../../domain/sources";
import { bytes, inert, number } from "../../lib/format";
import { ErrorNote, Loading } from "../../ui/faces";
import { type HubSource, useHub } from "./queries";

/** Searches a hub, and shows what it says of what it has. */
export function Hub({ first, onChoose }: { first: string; onChoose: (name: string, source: HubSource) => void }) {
  const { t, i18n } = useTranslation("create");
  const l = i18n.language;
  const [source, setSource] = useState<HubSource>("hugging_face");
  const [q, setQ] = useState(first);
  const [wanted] = useDebouncedValue(q.trim(), 300);
  const found = useHub(wanted, source);
  return (
    <Stack gap="sm">
      <Group gap="sm">
        <SegmentedControl
          size="sm"
          aria-label={t("hub.source")}
          value={source}
          onChange={(s) => setSource(s as HubSource)}
          data={(["hugging_face", "model_scope"] as const).map((s) => ({ value: s, label: sourceName[s]! }))}
        />
        <TextInput
          type="search"
          style={{ flex: "1 1 200px" }}
          maxLength={200}
          aria-label={t("hub.search")}
          placeholder={t("hub.search")}
          value={q}
          onChange={(e) => setQ(e.currentTarget.value)}
        />
      </Group>
      {wanted.length < 2 && (
        <Text size="sm" c="dimmed">
          {t("hub.begin")}
        </Text>
      )}
      {found.error && <ErrorNote error={found.error} retry={() => found.refetch()} />}
      {found.isLoading && <Loading rows={3} />}
      {wanted.length > 1 && !found.error && found.data?.length === 0 && <Text size="sm">{t("hub.none")}</Text>}
      <Stack gap={6} style={{ maxHeight: 320, overflow: "auto" }} tabIndex={0} role="group" aria-label={t("from.hub")}>
        {wanted.length > 1 &&
          !found.error &&
          (found.data ?? []).map((m) => (
            <UnstyledButton key={m.id} className="card" p="xs" onClick={() => onChoose(m.id, source)}>
              <Text size="sm" fw={600} className="foreign">
                {inert(m.id, 120)}
              </Text>
              <Text size="xs" c="dimmed" className="foreign">
                {[
                  m.task && inert(m.task, 40),
                  m.downloads !== undefined && t("hub.downloads", { n: number(m.downloads, l) }),
                  m.likes !== undefined && t("hub.likes", { n: number(m.likes, l) }),
                  m.size_bytes ? bytes(m.size_bytes, l) : null,
                  m.gated && t("hub.gated"),
                ]
                  .filter(Boolean)
                  .join(" · ")}
              </Text>
            </UnstyledButton>
          ))}
      </Stack>
    </Stack>
  );
}
