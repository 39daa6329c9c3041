import { Button, Group, Modal, NumberInput, Radio, Select, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { bytes, inert } from "../lib/format";
import { ErrorNote } from "../ui/faces";
import { done } from "../ui/notify";
import { type Prune, type Pruned, previewPrune, prune } from "./files";
import { PruneList } from "./PruneList";
import { useMay } from "./session";

type Kind = "usual" | "unused" | "percent" | "orphans";
const kinds: Kind[] = ["usual", "unused", "percent", "orphans"];

export function pruneOf(kind: Kind, percent: number): Prune {
  if (kind === "unused") return { all_unused: true };
  if (kind === "percent") return { to_percent: percent };
  return kind === "orphans" ? { orphans: true } : {};
}

/** Removes files that a node does not need, after it has told which. Only what was shown can be confirmed. */
export function PruneDialog({ nodes, onClose, onDone }: { nodes: string[]; onClose: () => void; onDone?: () => void }) {
  const { t, i18n } = useTranslation(["cache", "common"]);
  const admin = useMay("admin");
  const [node, setNode] = useState(nodes[0] ?? "");
  const [kind, setKind] = useState<Kind>("unused");
  const [to, setTo] = useState(70);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [seen, setSeen] = useState<{ asked: Prune; node: string; told: Pruned } | null>(null);
  const asked = pruneOf(kind, to);
  const current = seen && seen.node === node && JSON.stringify(seen.asked) === JSON.stringify(asked) ? seen : null;
  async function run(work: () => Promise<void>) {
    setBusy(true);
    setError(null);
    try {
      await work();
    } catch (e) {
      setError(e);
    }
    setBusy(false);
  }
  const look = () => run(async () => setSeen({ asked, node, told: await previewPrune(node, asked) }));
  const act = () =>
    run(async () => {
      const told = await prune(node, asked);
      done(t("prune.freed", { size: bytes(told.freed_bytes, i18n.language), node: inert(node, 40) }));
      onDone?.();
      if (told.problems?.length) setSeen({ asked, node, told });
      else onClose();
    });
  return (
    <Modal opened onClose={onClose} size="xl" title={t("prune.title")} closeButtonProps={{ "aria-label": t("common:close") }}>
      <Stack>
        <Text size="sm" c="dimmed">
          {t("prune.lead")}
        </Text>
        {nodes.length > 1 && (
          <Select
            label={t("column.node")}
            data={nodes.map((n) => ({ value: n, label: inert(n, 60) }))}
            value={node}
            allowDeselect={false}
            searchable
            onChange={(v) => v && setNode(v)}
          />
        )}
        <Radio.Group label={t("prune.what")} value={kind} onChange={(v) => setKind(v as Kind)}>
          <Stack gap={6} mt={6}>
            {kinds.map((k) => (
              <Radio key={k} value={k} label={t(`prune.kind.${k}`)} description={t(`prune.hint.${k}`)} />
            ))}
          </Stack>
        </Radio.Group>
        {kind === "percent" && (
          <NumberInput label={t("prune.percent")} min={1} max={99} suffix=" %" value={to} onChange={(v) => setTo(Number(v) || 1)} w={160} />
        )}
        {error !== null && <ErrorNote error={error} />}
        {current && <PruneList told={current.told} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={look} loading={busy && !current}>
            {t("prune.preview")}
          </Button>
          {admin && current && current.told.removed.length > 0 && (
            <Button color="red" onClick={act} loading={busy}>
              {t("prune.remove", { size: bytes(current.told.freed_bytes, i18n.language) })}
            </Button>
          )}
        </Group>
      </Stack>
    </Modal>
  );
}
