import { Menu } from "@mantine/core";
import { IconInfoCircle, IconMessage, IconPlayerPlay, IconPlayerStop, IconTrash } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import type { ModelView } from "../../api/models";
import { useMay } from "../../domain/session";
import { deeds } from "../../domain/status";
import { RowMenu } from "../../ui/RowMenu";

export type Deed = "start" | "stop" | "delete";

type Props = { model: ModelView; label: string; onDeed: (deed: Deed, uid: string) => void };

/** What can be done with one model of the list. */
export function ModelMenu(p: Props) {
  return (
    <RowMenu label={p.label}>
      <Deeds {...p} />
    </RowMenu>
  );
}

function Deeds(p: Props) {
  const { t } = useTranslation("models");
  const operator = useMay("operator");
  const admin = useMay("admin");
  const uid = p.model.model_uid;
  const may = deeds(p.model.state);
  return (
    <>
      <Menu.Item leftSection={<IconInfoCircle size={16} />} renderRoot={(r) => <Link to="/models/$uid" params={{ uid }} {...r} />}>
        {t("deed.details")}
      </Menu.Item>
      {p.model.replicas.ready > 0 && (
        <Menu.Item
          leftSection={<IconMessage size={16} />}
          renderRoot={(r) => <Link to={`/playground?model=${encodeURIComponent(uid)}`} {...r} />}
        >
          {t("deed.try")}
        </Menu.Item>
      )}
      {operator && may.start && (
        <Menu.Item leftSection={<IconPlayerPlay size={16} />} onClick={() => p.onDeed("start", uid)}>
          {t("deed.start")}
        </Menu.Item>
      )}
      {operator && may.stop && (
        <Menu.Item leftSection={<IconPlayerStop size={16} />} onClick={() => p.onDeed("stop", uid)}>
          {t("deed.stop")}
        </Menu.Item>
      )}
      {admin && (
        <Menu.Item color="red" leftSection={<IconTrash size={16} />} onClick={() => p.onDeed("delete", uid)}>
          {t("deed.delete")}
        </Menu.Item>
      )}
    </>
  );
}
