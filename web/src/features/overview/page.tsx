import { Button, SimpleGrid, Stack } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { useLive } from "../../api/live";
import { type Alert, type NodeView, useNodes } from "../../domain/fleet";
import { useMay } from "../../domain/session";
import { moving } from "../../domain/status";
import { PageHead } from "../../ui/bits";
import { ErrorNote, Faces } from "../../ui/faces";
import { Changing } from "./Changing";
import { First } from "./First";
import { needs } from "./logic";
import { Machines } from "./Machines";
import { Needs } from "./Needs";
import { type Board, useBoard } from "./queries";
import { Tiles } from "./Tiles";

/** What runs, what needs somebody, what the machines have, and what changes now. */
export function OverviewPage() {
  const { t } = useTranslation("overview");
  const may = useMay("operator");
  const board = useBoard();
  const nodes = useNodes();
  return (
    <>
      <PageHead
        title={t("title")}
        lead={t("lead")}
        actions={
          may &&
          !!board.data?.counts.total && (
            <Button component={Link} to="/new" leftSection={<IconPlus size={16} />}>
              {t("new")}
            </Button>
          )
        }
      />
      <Faces of={board}>
        {(b) => (
          <Stack>
            <Tiles counts={b.counts} nodes={nodes.data} />
            {b.counts.total === 0 && <First />}
            <Columns board={b} nodes={nodes.data ?? []} />
            {nodes.error && <ErrorNote error={nodes.error} retry={nodes.refresh} />}
            {nodes.data && <Machines nodes={nodes.data} />}
          </Stack>
        )}
      </Faces>
    </>
  );
}

function Columns({ board, nodes }: { board: Board; nodes: NodeView[] }) {
  const alerts = useLive<Alert[]>("/api/v2/alerts");
  const count = board.counts.states;
  const list = needs(board.troubled, board.moving, nodes);
  const troubled = count.failed + count.degraded - board.troubled.length;
  const going = moving.reduce((sum, s) => sum + count[s], 0) - board.moving.length;
  return (
    <SimpleGrid cols={{ base: 1, md: 2 }}>
      <Needs needs={list} more={Math.max(0, troubled)} alerts={alerts.data?.length ?? 0} />
      <Changing models={board.moving} more={Math.max(0, going)} />
    </SimpleGrid>
  );
}
