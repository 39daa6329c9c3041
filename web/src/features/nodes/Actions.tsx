import { Button, Text } from "@mantine/core";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { NodeView } from "../../domain/fleet";
import { useMay } from "../../domain/session";
import { inert } from "../../lib/format";
import { Confirm } from "../../ui/Confirm";
import { done, failed } from "../../ui/notify";
import { cordon, drain, remove, uncordon } from "./queries";

/** What may be done with a node. Its effect comes back with the node itself. */
export function Actions({ node: n }: { node: NodeView }) {
  const { t } = useTranslation(["nodes", "common"]);
  const operator = useMay("operator");
  const admin = useMay("admin");
  const navigate = useNavigate();
  const [asks, setAsks] = useState<"drain" | "remove" | null>(null);
  const [busy, setBusy] = useState(false);
  const id = inert(n.node_id, 60);
  const replicas = n.replicas?.length ?? 0;
  async function now(work: (id: string) => Promise<unknown>, words: string) {
    setBusy(true);
    try {
      await work(n.node_id);
      done(words);
    } catch (e) {
      failed(t("failed"), e, t as never);
    }
    setBusy(false);
  }
  return (
    <>
      {operator &&
        (n.cordoned || n.draining ? (
          <Button variant="default" loading={busy} onClick={() => now(uncordon, t("uncordonedNow", { id }))}>
            {t("uncordon")}
          </Button>
        ) : (
          <Button variant="default" loading={busy} onClick={() => now(cordon, t("cordonedNow", { id }))}>
            {t("cordon")}
          </Button>
        ))}
      {operator && !n.draining && (
        <Button variant="default" onClick={() => setAsks("drain")}>
          {t("drain")}
        </Button>
      )}
      {admin && (
        <Button variant="light" color="red" onClick={() => setAsks("remove")}>
          {t("remove")}
        </Button>
      )}
      {asks === "drain" && (
        <Confirm
          title={t("drainTitle", { id })}
          action={t("drain")}
          onConfirm={async () => {
            await drain(n.node_id);
            done(t("drainingNow", { id }));
          }}
          onClose={() => setAsks(null)}
        >
          <Text size="sm">{replicas ? t("drainText", { count: replicas }) : t("drainNone")}</Text>
        </Confirm>
      )}
      {asks === "remove" && (
        <Confirm
          title={t("removeTitle", { id })}
          action={t("remove")}
          danger
          typed={n.node_id}
          onConfirm={async () => {
            await remove(n.node_id);
            done(t("removedNow", { id }));
            navigate({ to: "/nodes" });
          }}
          onClose={() => setAsks(null)}
        >
          <Text size="sm">{t("removeText")}</Text>
          {replicas > 0 && <Text size="sm">{t("removeReplicas", { count: replicas })}</Text>}
        </Confirm>
      )}
    </>
  );
}
