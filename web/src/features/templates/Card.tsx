import { ActionIcon, Anchor, Button, Group, Menu, Paper, Text, Title } from "@mantine/core";
import { IconDots, IconExternalLink, IconPencil, IconTrash } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { useMay } from "../../domain/session";
import { bytes, inert, number } from "../../lib/format";
import { Name, Pill } from "../../ui/bits";
import type { Template } from "./queries";

type Props = { template: Template; onDeploy: () => void; onEdit: () => void; onDelete: () => void };

/** A template with what is known of its model; what is not known is left out. */
export function Card({ template: x, onDeploy, onEdit, onDelete }: Props) {
  const { t, i18n } = useTranslation(["templates", "common"]);
  const l = i18n.language;
  const may = useMay("operator");
  const known = [
    x.parameters ? t("parameters", { n: compact(x.parameters, l) }) : "",
    x.context_length ? t("context", { n: number(x.context_length, l) }) : "",
    x.memory_bytes ? t("memory", { size: bytes(x.memory_bytes, l) }) : "",
    x.licence ? inert(x.licence, 40) : "",
  ].filter(Boolean);
  return (
    <Paper
      className="card"
      p="md"
      component="article"
      aria-label={inert(x.name, 80)}
      style={{ display: "flex", flexDirection: "column", gap: 6 }}
    >
      <Group justify="space-between" wrap="nowrap" align="flex-start" gap="xs">
        <Title order={3} size="h5" className="foreign" lineClamp={2}>
          {inert(x.name, 80)}
        </Title>
        <Group gap={4} wrap="nowrap" className="whole">
          {x.engine_type && <Pill color="gray">{inert(x.engine_type, 20)}</Pill>}
          <Pill color={x.source === "system" ? "indigo" : x.source === "saved" ? "grape" : "teal"}>{t(`sources.${x.source}`)}</Pill>
        </Group>
      </Group>
      <Text size="xs" c="dimmed" component="div">
        <Name text={x.model_name} mono most={70} />
        {x.homepage && /^https?:\/\//.test(x.homepage) && (
          <Anchor href={x.homepage} target="_blank" rel="noreferrer noopener" ml={6} aria-label={t("card", { name: inert(x.name, 60) })}>
            <IconExternalLink size={13} style={{ verticalAlign: "-2px" }} />
          </Anchor>
        )}
      </Text>
      {x.description && (
        <Text size="sm" className="foreign" lineClamp={3}>
          {inert(x.description, 300)}
        </Text>
      )}
      <Text size="xs" c="dimmed">
        {known.join(" · ")}
      </Text>
      {may && (
        <Group gap="xs" mt="auto" pt={6}>
          <Button size="xs" onClick={onDeploy} aria-label={`${t("deploy")}: ${inert(x.name, 60)}`}>
            {t("deploy")}
          </Button>
          <Button
            size="xs"
            variant="default"
            component={Link}
            to="/new"
            search={{ template: x.template_id } as never}
            aria-label={`${t("adjust")}: ${inert(x.name, 60)}`}
          >
            {t("adjust")}
          </Button>
          {x.source !== "system" && (
            <Menu position="bottom-end">
              <Menu.Target>
                <ActionIcon variant="default" size={30} aria-label={t("more", { name: inert(x.name, 60) })}>
                  <IconDots size={16} />
                </ActionIcon>
              </Menu.Target>
              <Menu.Dropdown>
                <Menu.Item leftSection={<IconPencil size={16} />} onClick={onEdit}>
                  {t("edit")}
                </Menu.Item>
                <Menu.Item color="red" leftSection={<IconTrash size={16} />} onClick={onDelete}>
                  {t("delete")}
                </Menu.Item>
              </Menu.Dropdown>
            </Menu>
          )}
        </Group>
      )}
    </Paper>
  );
}

function compact(n: number, language: string): string {
  return new Intl.NumberFormat(language, { notation: "compact", maximumSignificantDigits: 3 }).format(n);
}
