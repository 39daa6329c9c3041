import { Alert, Anchor, Group, SimpleGrid, Stack } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import { Link, useParams } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { useNodes } from "../../domain/fleet";
import { NodeState } from "../../domain/NodeBits";
import { inert } from "../../lib/format";
import { PageHead, When } from "../../ui/bits";
import { Empty, Faces } from "../../ui/faces";
import { Actions } from "./Actions";
import { Cache } from "./Cache";
import { DiskCard } from "./DiskCard";
import { Engines } from "./Engines";
import { Gpus } from "./Gpus";
import { Hardware } from "./Hardware";
import { Replicas } from "./Replicas";

/** One machine: what it has, what runs on it, and what its cache holds. */
export function NodePage() {
  const { t } = useTranslation("nodes");
  const { id } = useParams({ from: "/shell/nodes/$id" });
  const nodes = useNodes();
  return (
    <Faces of={nodes}>
      {(all) => {
        const node = all.find((n) => n.node_id === id);
        if (!node)
          return (
            <>
              <PageHead title={t("notFound", { id: inert(id, 60) })} />
              <Empty
                title={t("notFoundHint")}
                action={
                  <Anchor component={Link} to="/nodes">
                    {t("all")}
                  </Anchor>
                }
              />
            </>
          );
        return (
          <>
            <PageHead
              title={node.node_id}
              lead={
                <Group gap="xs" mt={4}>
                  <NodeState node={node} />
                  <span>
                    {t("heard")} <When ms={node.last_heartbeat_ms} />
                  </span>
                </Group>
              }
              actions={<Actions node={node} />}
            />
            <Stack>
              {node.state !== "ready" && (
                <Alert color={node.state === "lost" ? "red" : "orange"} icon={<IconAlertTriangle />} py="xs">
                  {t("away")}
                </Alert>
              )}
              <SimpleGrid cols={{ base: 1, md: 2 }}>
                <Hardware node={node} />
                <DiskCard node={node} />
              </SimpleGrid>
              <Gpus node={node} />
              <SimpleGrid cols={{ base: 1, md: 2 }}>
                <Engines node={node} />
                <Replicas node={node} />
              </SimpleGrid>
              <Cache node={node} />
            </Stack>
          </>
        );
      }}
    </Faces>
  );
}
