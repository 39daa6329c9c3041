import { Alert, List, Stack, Text } from "@mantine/core";
import { IconAlertTriangle, IconCircleCheck } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import type { Schemas } from "../api/client";
import { inert } from "../lib/format";
import { sentence } from "../ui/faces";

/** What a dry run tells: where each replica would run, or what is lacking and what would help. */
export function Verdict({ explanation: e }: { explanation: Schemas["Explanation"] | undefined }) {
  const { t } = useTranslation("templates");
  if (!e) return null;
  const places = e.places ?? [];
  const fine = places.length > 0 && !e.unplaced;
  return (
    <Alert
      color={fine ? "teal" : "orange"}
      icon={fine ? <IconCircleCheck /> : <IconAlertTriangle />}
      title={fine ? t("verdict.fits", { count: places.length }) : t("verdict.lacks")}
      role="status"
    >
      <Stack gap={6}>
        {e.unplaced && (
          <Text size="sm" className="foreign">
            {sentence(inert(e.unplaced.message, 600))}
          </Text>
        )}
        {places.length > 0 && (
          <List size="sm">
            {places.slice(0, 12).map((p) => (
              <List.Item key={p.replica_id}>
                {p.gpu_indices?.length
                  ? t("verdict.onGpus", { replica: p.replica_id, node: inert(p.node_id, 60), gpus: p.gpu_indices.join(", ") })
                  : t("verdict.onCpu", { replica: p.replica_id, node: inert(p.node_id, 60) })}
              </List.Item>
            ))}
          </List>
        )}
        {!fine &&
          (e.nodes ?? [])
            .filter((n) => !n.fits)
            .slice(0, 5)
            .map((n) => (
              <Text key={n.node_id} size="sm" className="foreign">
                <b>{inert(n.node_id, 60)}</b>: {inert(n.message, 300)}
              </Text>
            ))}
        {!!e.help?.length && (
          <div>
            <Text size="sm" fw={600}>
              {t("verdict.help")}
            </Text>
            <List size="sm">
              {e.help.map((h) => (
                <List.Item key={h} className="foreign">
                  {sentence(inert(h, 400))}
                </List.Item>
              ))}
            </List>
          </div>
        )}
      </Stack>
    </Alert>
  );
}
