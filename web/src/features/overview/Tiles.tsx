import { Anchor, Group, SimpleGrid, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { gpuMemoryOf, heldGpus, memoryOf, type NodeView, ratio, reporting, total } from "../../domain/fleet";
import { modelStates, stateColor } from "../../domain/status";
import { bytes, number, percent } from "../../lib/format";
import { Pill, Tile, Unknown } from "../../ui/bits";
import { shownStates } from "./logic";
import type { Counts } from "./queries";

/** The cluster in four figures. Of nodes that do not report nothing is counted but that they are there. */
export function Tiles({ counts, nodes }: { counts: Counts; nodes: NodeView[] | undefined }) {
  const { t, i18n } = useTranslation(["overview", "common"]);
  const l = i18n.language;
  const serving = counts.states.running + counts.states.degraded;
  return (
    <SimpleGrid cols={{ base: 1, xs: 2, lg: 4 }} spacing="md">
      <Tile
        label={t("tiles.models")}
        hint={
          <Group gap={6} mt={4}>
            {shownStates(counts.states, modelStates).map(([state, n]) => (
              <Anchor key={state} component={Link} to="/models" search={{ state } as never} underline="never">
                <Pill color={stateColor[state]}>
                  {number(n, l)} {t(`common:state.${state}`)}
                </Pill>
              </Anchor>
            ))}
          </Group>
        }
      >
        {t("tiles.of", { n: number(serving, l), total: number(counts.total, l) })}
      </Tile>
      {nodes ? <Machines nodes={nodes} /> : null}
    </SimpleGrid>
  );
}

function Machines({ nodes }: { nodes: NodeView[] }) {
  const { t, i18n } = useTranslation(["overview", "common"]);
  const l = i18n.language;
  const here = reporting(nodes);
  const gpus = here.flatMap((n) => n.gpus);
  const held = here.reduce((sum, n) => sum + n.gpus.filter((g) => heldGpus(n).has(g.index)).length, 0);
  const vram = gpuMemoryOf(gpus);
  const memory = total(here.map(memoryOf));
  const replicas = here.reduce((sum, n) => sum + (n.replicas?.length ?? 0), 0);
  return (
    <>
      <Tile label={t("tiles.nodes")} hint={t("tiles.replicas", { count: replicas })}>
        {t("tiles.of", { n: number(here.length, l), total: number(nodes.length, l) })}
      </Tile>
      <Tile
        label={t("tiles.gpus")}
        hint={vram ? t("tiles.vram", { used: bytes(vram.used, l), total: bytes(vram.total, l) }) : gpus.length === 0 && t("tiles.noGpus")}
      >
        {gpus.length === 0 ? t("tiles.none") : t("tiles.of", { n: number(held, l), total: number(gpus.length, l) })}
      </Tile>
      <Tile
        label={t("tiles.memory")}
        hint={memory && <Text size="xs">{t("tiles.ofBytes", { used: bytes(memory.used, l), total: bytes(memory.total, l) })}</Text>}
      >
        {memory ? percent(ratio(memory), l) : <Unknown />}
      </Tile>
    </>
  );
}
