import { ActionIcon, Button, Group, Modal, Select, Stack, Text, Tooltip } from "@mantine/core";
import { IconTrash } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ApiError } from "../api/client";
import { bytes, inert } from "../lib/format";
import { ErrorNote, Loading } from "../ui/faces";
import { done } from "../ui/notify";
import { type Entry, evict, type Pruned, previewEvict, sourceOf } from "./files";
import { useMay } from "./session";

/** Removes one model's files from a node, after it has told what that frees; nothing where Nebula may not delete, or the caller. */
export function EvictButton({ entries, onDone }: { entries: Entry[]; onDone?: () => void }) {
  const { t } = useTranslation("cache");
  const admin = useMay("admin");
  const [open, setOpen] = useState(false);
  const own = entries.filter((e) => sourceOf(e.cache_path) !== null);
  if (!admin || own.length === 0) return null;
  return (
    <>
      <Tooltip label={t("evict.hint")}>
        <ActionIcon
          variant="default"
          size="md"
          onClick={() => setOpen(true)}
          aria-label={`${t("evict.open")}: ${inert(own[0]!.model_name, 60)}`}
        >
          <IconTrash size={16} />
        </ActionIcon>
      </Tooltip>
      {open && <EvictDialog entries={own} onClose={() => setOpen(false)} onDone={onDone} />}
    </>
  );
}

function EvictDialog({ entries, onClose, onDone }: { entries: Entry[]; onClose: () => void; onDone?: () => void }) {
  const { t, i18n } = useTranslation(["cache", "common"]);
  const [chosen, setChosen] = useState(0);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const e = entries[chosen]!;
  const told = useQuery<Pruned, ApiError>({
    queryKey: ["cache", "evict", e.node_id, e.model_name, e.cache_path],
    queryFn: () => previewEvict(e),
    staleTime: 0,
    gcTime: 0,
  });
  async function act() {
    setBusy(true);
    setError(null);
    try {
      const got = await evict(e);
      onDone?.();
      if (got.problems?.length) throw new Error(got.problems.map((p) => inert(p, 400)).join("\n"));
      done(t("prune.freed", { size: bytes(got.freed_bytes, i18n.language), node: inert(e.node_id, 40) }));
      onClose();
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  }
  const nothing = told.data?.removed.length === 0;
  return (
    <Modal opened onClose={onClose} title={t("evict.title")} closeButtonProps={{ "aria-label": t("common:close") }}>
      <Stack>
        <Text size="sm">{t("evict.lead", { name: inert(e.model_name, 120), node: inert(e.node_id, 60) })}</Text>
        {entries.length > 1 && (
          <Select
            label={t("column.node")}
            data={entries.map((x, i) => ({ value: String(i), label: `${inert(x.node_id, 60)} · ${inert(x.cache_path, 80)}` }))}
            value={String(chosen)}
            allowDeselect={false}
            searchable
            onChange={(v) => {
              setChosen(Number(v));
              setError(null);
            }}
          />
        )}
        {told.isLoading && <Loading rows={1} />}
        {nothing && <Text size="sm">{t("prune.nothing")}</Text>}
        {told.data && !nothing && <Text size="sm">{t("evict.frees", { size: bytes(told.data.freed_bytes, i18n.language) })}</Text>}
        {(error ?? told.error) !== null && <ErrorNote error={error ?? told.error} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            {t("common:cancel")}
          </Button>
          {told.data && !nothing && (
            <Button color="red" onClick={act} loading={busy}>
              {t("prune.remove", { size: bytes(told.data.freed_bytes, i18n.language) })}
            </Button>
          )}
        </Group>
      </Stack>
    </Modal>
  );
}
