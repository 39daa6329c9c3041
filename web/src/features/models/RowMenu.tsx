import { ActionIcon, Menu } from "@mantine/core";
import { IconDots, IconInfoCircle, IconMessage, IconPlayerPlay, IconPlayerStop, IconTrash } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ModelView } from "../../api/models";
import { useMay } from "../../domain/session";
import { deeds } from "../../domain/status";

export type Deed = "start" | "stop" | "delete";

/** What can be done with one model of the list. The menu itself is drawn only while it is open: there are many rows. */
export function RowMenu({ model: m, onDeed }: { model: ModelView; onDeed: (deed: Deed, uid: string) => void }) {
  const { t } = useTranslation("models");
  const [open, setOpen] = useState(false);
  const button = (
    <ActionIcon
      variant="subtle"
      color="gray"
      aria-label={t("menuOf", { uid: m.model_uid })}
      aria-haspopup="menu"
      onClick={() => setOpen(true)}
    >
      <IconDots size={16} />
    </ActionIcon>
  );
  return open ? <Opened model={m} onDeed={onDeed} close={() => setOpen(false)} button={button} /> : button;
}

function Opened(p: { model: ModelView; onDeed: (deed: Deed, uid: string) => void; close: () => void; button: React.ReactElement }) {
  const { t } = useTranslation("models");
  const operator = useMay("operator");
  const admin = useMay("admin");
  const uid = p.model.model_uid;
  const may = deeds(p.model.state);
  return (
    <Menu opened onChange={(o) => !o && p.close()} position="bottom-end" withinPortal>
      <Menu.Target>{p.button}</Menu.Target>
      <Menu.Dropdown>
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
      </Menu.Dropdown>
    </Menu>
  );
}
