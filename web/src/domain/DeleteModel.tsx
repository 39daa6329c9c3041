import { Checkbox, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ApiError, Schemas } from "../api/client";
import { Confirm } from "../ui/Confirm";
import { ErrorNote } from "../ui/faces";
import { done } from "../ui/notify";
import { deleteModel } from "./modelDeeds";

/** Asks before a model is removed, and says what goes with it. */
export function DeleteModel({ uid, onClose, onDone }: { uid: string; onClose: () => void; onDone?: () => void }) {
  const { t } = useTranslation();
  const [purge, setPurge] = useState(false);
  const [deleted, setDeleted] = useState(false);
  const fate = useQuery<Schemas["ModelDeleted"], ApiError>({
    queryKey: ["delete", uid, "purge"],
    queryFn: () => deleteModel(uid, true, true),
    enabled: purge && !deleted,
    retry: false,
  });
  return (
    <Confirm
      title={t("delete.title")}
      action={t("delete.action")}
      danger
      typed={uid}
      onClose={onClose}
      onConfirm={async () => {
        setDeleted(true);
        const gone = await deleteModel(uid, purge).catch((e) => {
          setDeleted(false);
          throw e;
        });
        done([t("delete.done", { uid }), gone.purge?.kept].filter(Boolean).join(" "));
        onDone?.();
      }}
    >
      <Text size="sm">{t("delete.text")}</Text>
      <Checkbox checked={purge} onChange={(e) => setPurge(e.currentTarget.checked)} label={t("delete.purge")} />
      {purge && fate.error && <ErrorNote error={fate.error} />}
      {purge && fate.data && <Fate purge={fate.data.purge} />}
    </Confirm>
  );
}

function Fate({ purge }: { purge: Schemas["Purged"] | undefined }) {
  const { t } = useTranslation();
  const nodes = purge?.nodes ?? [];
  return (
    <Stack gap={4}>
      <Text size="sm" className="foreign">
        {purge?.kept || (nodes.length === 0 ? t("delete.noFiles") : t("delete.nodes"))}
      </Text>
      {nodes.map((n) => (
        <Text key={n.node_id} size="sm" className="foreign">
          <b className="mono">{n.node_id}</b> · {t(`delete.${n.state}`)}
          {n.why && `: ${n.why}`}
        </Text>
      ))}
    </Stack>
  );
}
