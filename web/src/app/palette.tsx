// Goes anywhere from the keyboard: Ctrl+K, a few letters, Enter. Models are looked up on the server.
import { Spotlight, type SpotlightActionData, spotlight } from "@mantine/spotlight";
import { IconBox, IconSearch } from "@tabler/icons-react";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ModelView } from "../api/models";
import { fetchPage } from "../api/pages";
import { atLeast, type Role } from "../domain/session";
import { inert } from "../lib/format";
import { navigation } from "./nav";

export function open() {
  spotlight.open();
}

export default function Palette({ role }: { role: Role }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const [query, setQuery] = useState("");
  const found = useQuery({
    queryKey: ["palette", query],
    queryFn: ({ signal }) => fetchPage<ModelView>(`/api/v2/models?q=${encodeURIComponent(query)}`, "", signal),
    enabled: query.trim().length > 0 && query.length <= 200 && atLeast(role, "viewer"),
    placeholderData: keepPreviousData,
  });
  const pages: SpotlightActionData[] = navigation.flatMap((g) =>
    g.entries
      .filter((e) => atLeast(role, e.role))
      .map((e) => ({
        id: e.to,
        label: t(`nav.${e.text}`),
        leftSection: <e.icon size={18} aria-hidden="true" />,
        onClick: () => navigate({ to: e.to }),
      })),
  );
  const models: SpotlightActionData[] = (query.trim() ? (found.data?.rows ?? []) : []).slice(0, 8).map((m) => ({
    id: `model ${m.model_uid}`,
    label: m.model_uid,
    description: inert(m.model_name, 80),
    leftSection: <IconBox size={18} aria-hidden="true" />,
    onClick: () => navigate({ to: "/models/$uid", params: { uid: m.model_uid } }),
  }));
  return (
    <Spotlight
      actions={[...pages, ...models]}
      query={query}
      onQueryChange={setQuery}
      filter={(q, all) =>
        all.filter(
          (a) => "id" in a && (String(a.id).startsWith("model ") || String(a.label).toLowerCase().includes(q.toLowerCase().trim())),
        )
      }
      nothingFound={t("palette.nothing")}
      shortcut={null}
      searchProps={{ leftSection: <IconSearch size={18} />, placeholder: t("palette.placeholder"), "aria-label": t("palette.open") }}
    />
  );
}
