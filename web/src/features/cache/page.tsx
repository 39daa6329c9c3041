import { Anchor, Button, SimpleGrid, Stack } from "@mantine/core";
import { IconDatabase, IconDownload } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { byModel, type FilesRequest } from "../../domain/files";
import { PruneDialog } from "../../domain/PruneDialog";
import { PullDialog } from "../../domain/PullDialog";
import { Pulls } from "../../domain/Pulls";
import { useMay } from "../../domain/session";
import { bytes, number } from "../../lib/format";
import { PageHead, Section, Tile } from "../../ui/bits";
import { Empty, ErrorNote, Faces } from "../../ui/faces";
import { Disks } from "./Disks";
import { FilesTable } from "./FilesTable";
import { type Summary, useCaches, useLookAgain, usePulls } from "./queries";

type Dialog = { pull?: { fixed: FilesRequest; name: string } } | "prune" | null;

/** The model files of the whole cluster: what is where, and what is on its way. */
export function CachePage() {
  const { t } = useTranslation("cache");
  const may = useMay("operator");
  const pulls = usePulls();
  const caches = useCaches(pulls.data);
  const again = useLookAgain();
  const [dialog, setDialog] = useState<Dialog>(null);
  const close = () => setDialog(null);
  const nodes = (caches.data?.nodes ?? []).map((n) => n.node_id).sort();
  return (
    <>
      <PageHead
        title={t("title")}
        lead={t("lead")}
        actions={
          may && (
            <>
              <Button variant="default" onClick={() => setDialog("prune")} disabled={nodes.length === 0}>
                {t("prune.open")}
              </Button>
              <Button leftSection={<IconDownload size={16} />} onClick={() => setDialog({})}>
                {t("pull.open")}
              </Button>
            </>
          )
        }
      />
      <Stack>
        {pulls.error && <ErrorNote error={pulls.error} retry={pulls.refresh} />}
        {!!pulls.data?.length && (
          <Section title={t("pullsTitle")}>
            <Pulls pulls={pulls.data} withNode />
          </Section>
        )}
        <Faces of={caches}>{(c) => <Content caches={c} onPull={(fixed, name) => setDialog({ pull: { fixed, name } })} />}</Faces>
      </Stack>
      {dialog === "prune" && <PruneDialog nodes={nodes} onClose={close} onDone={again} />}
      {dialog !== null && dialog !== "prune" && <PullDialog {...dialog.pull} onClose={close} />}
    </>
  );
}

function Content({ caches: c, onPull }: { caches: Summary; onPull: (files: FilesRequest, name: string) => void }) {
  const { t, i18n } = useTranslation("cache");
  const l = i18n.language;
  const files = byModel(c.caches ?? []);
  return (
    <Stack>
      <SimpleGrid cols={{ base: 1, xs: 3 }}>
        <Tile label={t("tile.size")}>{bytes(c.total_cache_size_bytes, l)}</Tile>
        <Tile label={t("tile.models")} hint={t("tile.copies", { count: c.total_cached_models })}>
          {number(files.length, l)}
        </Tile>
        <Tile label={t("tile.nodes")}>{number(c.nodes?.length ?? 0, l)}</Tile>
      </SimpleGrid>
      <Section title={t("filesTitle")}>
        {files.length === 0 ? (
          <Empty
            icon={<IconDatabase size={40} stroke={1.4} />}
            title={t("empty")}
            action={
              <Anchor component={Link} to="/templates">
                {t("toTemplates")}
              </Anchor>
            }
          >
            {t("emptyHint")}
          </Empty>
        ) : (
          <FilesTable files={files} onPull={onPull} />
        )}
      </Section>
      {!!c.nodes?.length && (
        <Section title={t("disksTitle")}>
          <Disks disks={c.nodes} />
        </Section>
      )}
    </Stack>
  );
}
