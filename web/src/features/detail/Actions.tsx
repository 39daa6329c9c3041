import { ActionIcon, Button, Menu } from "@mantine/core";
import { IconDots, IconEdit, IconMessage, IconPlayerPlay, IconPlayerStop, IconStack2, IconTemplate, IconTrash } from "@tabler/icons-react";
import { Link, useNavigate } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import { useTranslation } from "react-i18next";
import type { ModelDetail } from "../../api/models";
import { DeleteModel } from "../../domain/DeleteModel";
import { startModel, stopModel } from "../../domain/modelDeeds";
import { useMay } from "../../domain/session";
import { deeds } from "../../domain/status";
import { failed } from "../../ui/notify";
import { SaveTemplate } from "./SaveTemplate";
import { Scale } from "./Scale";

const Edit = lazy(() => import("./Edit"));
type Open = "scale" | "edit" | "template" | "delete" | null;

/** What may be done with a model, for whoever may. */
export function Actions({ model: m }: { model: ModelDetail }) {
  const { t } = useTranslation("detail");
  const { t: common } = useTranslation();
  const operator = useMay("operator");
  const admin = useMay("admin");
  const navigate = useNavigate();
  const [open, setOpen] = useState<Open>(null);
  const [busy, setBusy] = useState(false);
  const may = deeds(m.state);
  const uid = m.model_uid;
  const close = () => setOpen(null);
  async function toggle() {
    setBusy(true);
    try {
      await (may.start ? startModel(uid) : stopModel(uid));
    } catch (e) {
      failed(t(may.start ? "action.notStarted" : "action.notStopped", { uid }), e, common);
    }
    setBusy(false);
  }
  return (
    <>
      {m.replicas.ready > 0 && (
        <Button
          variant="default"
          component={Link}
          to={`/playground?model=${encodeURIComponent(uid)}`}
          leftSection={<IconMessage size={16} />}
        >
          {t("action.try")}
        </Button>
      )}
      {operator && (
        <>
          <Button
            variant={may.start ? "filled" : "default"}
            loading={busy}
            leftSection={may.start ? <IconPlayerPlay size={16} /> : <IconPlayerStop size={16} />}
            onClick={toggle}
          >
            {t(may.start ? "action.start" : "action.stop")}
          </Button>
          <Button variant="default" leftSection={<IconStack2 size={16} />} onClick={() => setOpen("scale")}>
            {t("action.scale")}
          </Button>
          <Button variant="default" leftSection={<IconEdit size={16} />} onClick={() => setOpen("edit")}>
            {t("action.edit")}
          </Button>
          <Menu position="bottom-end">
            <Menu.Target>
              <ActionIcon variant="default" size={36} aria-label={t("action.more")}>
                <IconDots size={16} />
              </ActionIcon>
            </Menu.Target>
            <Menu.Dropdown>
              <Menu.Item leftSection={<IconTemplate size={16} />} onClick={() => setOpen("template")}>
                {t("action.template")}
              </Menu.Item>
              {admin && (
                <Menu.Item color="red" leftSection={<IconTrash size={16} />} onClick={() => setOpen("delete")}>
                  {t("action.delete")}
                </Menu.Item>
              )}
            </Menu.Dropdown>
          </Menu>
        </>
      )}
      {open === "scale" && <Scale model={m} onClose={close} />}
      {open === "edit" && (
        <Suspense>
          <Edit model={m} onClose={close} />
        </Suspense>
      )}
      {open === "template" && <SaveTemplate model={m} onClose={close} />}
      {open === "delete" && <DeleteModel uid={uid} onClose={close} onDone={() => navigate({ to: "/models" })} />}
    </>
  );
}
