import { IconInfoCircle, IconMessage, IconPlayerPlay, IconPlayerStop, IconTrash } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import type { ModelView } from "../../api/models";
import { useMay } from "../../domain/session";
import { deeds } from "../../domain/status";
import type { Items } from "../../ui/PopMenu";
import { RowMenu } from "../../ui/RowMenu";

export type Deed = "start" | "stop" | "delete";

type Props = { model: ModelView; label: string; onDeed: (deed: Deed, uid: string) => void };

/** What can be done with one model of the list. */
export function ModelMenu(p: Props) {
  return <RowMenu label={p.label}>{({ Item }) => <Deeds {...p} Item={Item} />}</RowMenu>;
}

function Deeds({ Item, ...p }: Props & Pick<Items, "Item">) {
  const { t } = useTranslation("models");
  const operator = useMay("operator");
  const admin = useMay("admin");
  const uid = p.model.model_uid;
  const may = deeds(p.model.state);
  return (
    <>
      <Item leftSection={<IconInfoCircle size={16} />} renderRoot={(r) => <Link to="/models/$uid" params={{ uid }} {...r} />}>
        {t("deed.details")}
      </Item>
      {p.model.replicas.ready > 0 && (
        <Item
          leftSection={<IconMessage size={16} />}
          renderRoot={(r) => <Link to={`/playground?model=${encodeURIComponent(uid)}`} {...r} />}
        >
          {t("deed.try")}
        </Item>
      )}
      {operator && may.start && (
        <Item leftSection={<IconPlayerPlay size={16} />} onClick={() => p.onDeed("start", uid)}>
          {t("deed.start")}
        </Item>
      )}
      {operator && may.stop && (
        <Item leftSection={<IconPlayerStop size={16} />} onClick={() => p.onDeed("stop", uid)}>
          {t("deed.stop")}
        </Item>
      )}
      {admin && (
        <Item color="red" leftSection={<IconTrash size={16} />} onClick={() => p.onDeed("delete", uid)}>
          {t("deed.delete")}
        </Item>
      )}
    </>
  );
}
