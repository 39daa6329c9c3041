import { Group, Text } from "@mantine/core";
import { IconLink } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { number } from "../../lib/format";
import { Copy, When } from "../../ui/bits";
import { ErrorNote } from "../../ui/faces";
import { useHead } from "./queries";

/** Where the chain of records ends and begins, so that what is noted elsewhere can be compared. Whether it is whole, only recomputing tells. */
export function Chain() {
  const { t, i18n } = useTranslation("audit");
  const head = useHead();
  if (head.error && head.error.status !== 403)
    return <ErrorNote error={head.error} title={t("chain.failed")} retry={() => head.refetch()} />;
  if (!head.data) return null;
  const { seq, hash, anchor } = head.data;
  return (
    <Group gap="lg">
      <Group gap={6}>
        <IconLink size={15} aria-hidden="true" />
        <Text size="sm">
          {t("chain.end", { seq: number(seq, i18n.language) })} <span className="mono">{hash ? `${hash.slice(0, 16)}…` : ""}</span>
        </Text>
        {hash && <Copy text={hash} label={t("chain.copy")} />}
      </Group>
      {anchor && (
        <Text size="sm" c="dimmed">
          {t("chain.anchor", { seq: number(anchor.seq, i18n.language) })} <When ms={anchor.time_ms} />
        </Text>
      )}
      <Text size="sm" c="dimmed">
        {t("chain.verify")} <span className="mono">nebula audit verify</span>
      </Text>
    </Group>
  );
}
