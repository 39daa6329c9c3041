import { Anchor, Button, Group, Select, SimpleGrid, Stack, TextInput, Title } from "@mantine/core";
import { IconPlus, IconSearch, IconTemplate } from "@tabler/icons-react";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useMay } from "../../domain/session";
import { inert } from "../../lib/format";
import { PageHead } from "../../ui/bits";
import { Confirm } from "../../ui/Confirm";
import { Empty, Faces } from "../../ui/faces";
import { done } from "../../ui/notify";
import { Card } from "./Card";
import { DeployDialog } from "./DeployDialog";
import { FormDialog } from "./FormDialog";
import { grouped } from "./logic";
import { remove, type Template, useTemplates } from "./queries";
import { type Category, categories, type Search, type Source, sources } from "./search";

/** Models to be, in groups: to deploy, to write and to change. */
export function TemplatesPage() {
  const { t } = useTranslation(["templates", "common"]);
  const s: Search = useSearch({ from: "/shell/templates" });
  const navigate = useNavigate({ from: "/templates" });
  const may = useMay("operator");
  const templates = useTemplates();
  const [deleting, setDeleting] = useState<Template | null>(null);
  const go = (change: Partial<Search>, replace = true) => navigate({ search: (before: Search) => ({ ...before, ...change }), replace });
  const close = () => go({ deploy: undefined, edit: undefined, make: undefined });
  const add = may && (
    <Button leftSection={<IconPlus size={16} />} onClick={() => go({ make: true }, false)}>
      {t("make")}
    </Button>
  );
  return (
    <>
      <PageHead title={t("title")} lead={t("lead")} actions={add} />
      <Group mb="md" gap="sm">
        <TextInput
          leftSection={<IconSearch size={16} />}
          aria-label={t("search")}
          placeholder={t("search")}
          value={s.q ?? ""}
          onChange={(e) => go({ q: e.currentTarget.value || undefined })}
          w={280}
        />
        <Select
          aria-label={t("category")}
          placeholder={t("anyCategory")}
          clearable
          w={190}
          data={categories.map((value) => ({ value, label: t(`categories.${value}`) }))}
          value={s.category ?? null}
          onChange={(v) => go({ category: (v as Category) ?? undefined })}
        />
        <Select
          aria-label={t("source")}
          placeholder={t("anySource")}
          clearable
          w={170}
          data={sources.map((value) => ({ value, label: t(`sources.${value}`) }))}
          value={s.source ?? null}
          onChange={(v) => go({ source: (v as Source) ?? undefined })}
        />
      </Group>
      <Faces
        of={templates}
        isEmpty={(all) => all.length === 0}
        empty={<Empty icon={<IconTemplate size={40} stroke={1.4} />} title={t("empty")} action={add} />}
      >
        {(all) => {
          const groups = grouped(all, s);
          if (groups.length === 0)
            return (
              <Empty
                title={t("noneMatch")}
                action={
                  <Anchor component="button" type="button" onClick={() => go({ q: undefined, category: undefined, source: undefined })}>
                    {t("clear")}
                  </Anchor>
                }
              />
            );
          return (
            <Stack gap="lg">
              {groups.map(([category, list]) => (
                <section key={category ?? ""} aria-label={category ? t(`categories.${category}`) : t("noCategory")}>
                  <Title order={2} size="h4" mb="xs">
                    {category ? t(`categories.${category}`) : t("noCategory")}
                  </Title>
                  <SimpleGrid cols={{ base: 1, sm: 2, xl: 3 }}>
                    {list.map((x) => (
                      <Card
                        key={x.template_id}
                        template={x}
                        onDeploy={() => go({ deploy: x.template_id }, false)}
                        onEdit={() => go({ edit: x.template_id }, false)}
                        onDelete={() => setDeleting(x)}
                      />
                    ))}
                  </SimpleGrid>
                </section>
              ))}
            </Stack>
          );
        }}
      </Faces>
      {may && s.deploy && <DeployDialog key={s.deploy} id={s.deploy} onClose={close} />}
      {may && (s.edit || s.make) && <FormDialog key={s.edit ?? ""} id={s.edit} onClose={close} />}
      {deleting && (
        <Confirm
          title={t("deleteTitle", { name: inert(deleting.name, 60) })}
          action={t("delete")}
          danger
          typed={deleting.template_id}
          onConfirm={async () => {
            await remove(deleting.template_id);
            done(t("deleted", { name: inert(deleting.name, 60) }));
          }}
          onClose={() => setDeleting(null)}
        >
          {t("deleteText")}
        </Confirm>
      )}
    </>
  );
}
