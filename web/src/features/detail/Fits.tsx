import { Anchor, Badge, Group, List, Stack, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { reasonTitle } from "../../domain/reason";
import { Name } from "../../ui/bits";
import { sentence } from "../../ui/faces";
import type { Explanation } from "./queries";

const shown = 20;

/** What one replica asks for, and what each node says to that. */
export function Fits({ why }: { why: Explanation }) {
  const { t } = useTranslation("detail");
  const { t: common } = useTranslation();
  const nodes = why.nodes ?? [];
  return (
    <Stack gap="xs">
      {why.need && (
        <Text size="sm">
          {t("fit.need")} <b className="foreign">{why.need.message}</b>
        </Text>
      )}
      {why.unplaced && (
        <Text size="sm" className="foreign" c="var(--mantine-color-red-light-color)">
          {sentence(why.unplaced.message)}
        </Text>
      )}
      {nodes.length === 0 && (
        <Text size="sm" c="dimmed">
          {t("fit.noNodes")}
        </Text>
      )}
      <List listStyleType="none" spacing={6}>
        {nodes.slice(0, shown).map((n) => (
          <List.Item key={n.node_id} styles={{ itemWrapper: { width: "100%" }, itemLabel: { width: "100%" } }}>
            <Group gap="xs" wrap="nowrap" align="flex-start">
              <Badge color={n.fits ? "teal" : "gray"} style={{ flex: "none" }}>
                {reasonTitle(n.code, common)}
              </Badge>
              <Text size="sm" className="foreign" component="div" style={{ minWidth: 0 }}>
                <Anchor component={Link} to={`/nodes/${encodeURIComponent(n.node_id)}`} underline="always" inherit>
                  <Name text={n.node_id} most={48} />
                </Anchor>{" "}
                {n.message}
                {(n.replicas ?? []).length > 0 && (
                  <Text span c="dimmed" size="xs">
                    {" "}
                    · {t("fit.replicas", { ids: n.replicas!.join(", ") })}
                  </Text>
                )}
              </Text>
            </Group>
          </List.Item>
        ))}
      </List>
      {nodes.length > shown && (
        <Text size="sm" c="dimmed">
          {t("fit.more", { count: nodes.length - shown })}
        </Text>
      )}
    </Stack>
  );
}
