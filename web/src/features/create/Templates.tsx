import { SimpleGrid, Stack, Text, TextInput, Title, UnstyledButton } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { bytes, inert } from "../../lib/format";
import { Faces } from "../../ui/faces";
import { type Template, useTemplates } from "./queries";

const order = ["llm", "vlm", "embedding", "rerank", "audio", "other"] as const;

/** Templates by what their models are for. */
export function Templates({ chosen, onChoose }: { chosen?: string; onChoose: (t: Template) => void }) {
  const { t, i18n } = useTranslation("create");
  const all = useTemplates();
  const [q, setQ] = useState("");
  const wanted = q.trim().toLowerCase();
  const matches = (x: Template) => !wanted || `${x.name} ${x.model_name} ${x.description ?? ""}`.toLowerCase().includes(wanted);
  const kind = (x: Template) => order.find((o) => o === x.category) ?? "other";
  return (
    <Faces of={all} isEmpty={(d) => d.length === 0} empty={<Text c="dimmed">{t("template.none")}</Text>} rows={3}>
      {(data) => (
        <Stack gap="sm">
          <TextInput
            type="search"
            aria-label={t("template.search")}
            placeholder={t("template.search")}
            value={q}
            onChange={(e) => setQ(e.currentTarget.value)}
          />
          <Stack gap="sm" style={{ maxHeight: 340, overflow: "auto" }} tabIndex={0} role="group" aria-label={t("from.template")}>
            {order.map((o) => {
              const some = data.filter((x) => kind(x) === o && matches(x));
              if (some.length === 0) return null;
              return (
                <div key={o}>
                  <Title order={3} size="h6" c="dimmed" mb={4}>
                    {t(`category.${o}`)}
                  </Title>
                  <SimpleGrid cols={{ base: 1, sm: 2 }} spacing={8}>
                    {some.map((x) => (
                      <UnstyledButton
                        key={x.template_id}
                        className="card"
                        p="xs"
                        aria-pressed={chosen === x.template_id}
                        style={{ borderColor: chosen === x.template_id ? "var(--mantine-primary-color-filled)" : undefined }}
                        onClick={() => onChoose(x)}
                      >
                        <Text size="sm" fw={600} className="foreign">
                          {inert(x.name, 80)}
                        </Text>
                        <Text size="xs" c="dimmed" className="foreign" lineClamp={2}>
                          {inert(x.description || x.model_name, 160)}
                          {x.memory_bytes ? ` · ${t("template.memory", { size: bytes(x.memory_bytes, i18n.language) })}` : ""}
                        </Text>
                      </UnstyledButton>
                    ))}
                  </SimpleGrid>
                </div>
              );
            })}
          </Stack>
        </Stack>
      )}
    </Faces>
  );
}
