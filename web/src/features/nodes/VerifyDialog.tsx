import { Button, Group, Modal, Stack, Text } from "@mantine/core";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { bytes, inert, number, percent } from "../../lib/format";
import { ErrorNote } from "../../ui/faces";
import { Meter } from "../../ui/Meter";
import { type VerifyEvent, verify } from "./verify";

/** Verifies all files of a node, or one model's. To close it is to end it. */
export function VerifyDialog({ node, model, onClose }: { node: string; model: string; onClose: () => void }) {
  const { t, i18n } = useTranslation(["cache", "common"]);
  const l = i18n.language;
  const [last, setLast] = useState<VerifyEvent | null>(null);
  const [damaged, setDamaged] = useState<VerifyEvent[]>([]);
  const [error, setError] = useState<unknown>(null);
  const ended = last?.type === "end";
  useEffect(() => {
    const stop = new AbortController();
    async function follow() {
      try {
        for await (const e of verify(node, model ? { model_name: model } : {}, stop.signal)) {
          setLast(e);
          if (e.type === "damaged") setDamaged((before) => [...before, e]);
        }
      } catch (e) {
        if (!stop.signal.aborted) setError(e);
      }
    }
    follow();
    return () => stop.abort();
  }, [node, model]);
  const text =
    last &&
    t("verify.sofar", {
      files: number(last.files, l),
      total: number(last.files_total, l),
      done: bytes(last.done_bytes, l),
      bytes: bytes(last.total_bytes, l),
    });
  return (
    <Modal opened onClose={onClose} size="lg" title={t("verify.title")} closeButtonProps={{ "aria-label": t("common:close") }}>
      <Stack>
        <Text size="sm" c="dimmed">
          {model ? t("verify.model", { name: inert(model, 80), node: inert(node, 40) }) : t("verify.all", { node: inert(node, 40) })}
        </Text>
        {last && text && last.total_bytes > 0 && (
          <Meter
            ratio={last.done_bytes / last.total_bytes}
            label={t("verify.title")}
            text={`${percent(last.done_bytes / last.total_bytes, l)}, ${text}`}
          />
        )}
        <Text size="sm" role="status">
          {ended
            ? damaged.length
              ? t("verify.damaged", { count: damaged.length })
              : t("verify.fine", { count: last.files })
            : error === null && (text ?? t("verify.begins"))}
        </Text>
        {damaged.map((d) => (
          <Text key={`${d.model_name} ${d.file}`} size="sm" className="foreign" c="var(--mantine-color-error)">
            {inert(`${d.model_name}: ${d.file}: ${d.fault}`, 500)}
          </Text>
        ))}
        {ended && damaged.length > 0 && <Text size="sm">{t("verify.next")}</Text>}
        {error !== null && <ErrorNote error={error} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            {ended || error !== null ? t("common:close") : t("verify.stop")}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
