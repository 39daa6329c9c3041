import { Alert, Anchor, Stack } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { IconAlertTriangle } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useEffect } from "react";
import { useTranslation } from "react-i18next";
import type { Schemas } from "../api/client";
import { useLive } from "../api/live";
import type { Translate } from "../lib/i18n";
import { sentence } from "../ui/faces";

type DiskAlert = Schemas["DiskAlert"];

/** What people should look at, above every page, while it holds. */
export function Alerts() {
  const alerts = useLive<DiskAlert[]>("/api/v2/alerts");
  return alerts.data?.length ? <AlertList alerts={alerts.data} /> : null;
}

function AlertList({ alerts }: { alerts: DiskAlert[] }) {
  const { t } = useTranslation();
  const { ref, height } = useElementSize();
  useEffect(() => {
    const root = document.documentElement.style;
    root.setProperty("--nebula-alerts", `${height + 16}px`); // pages that fill the window take this off
    return () => void root.removeProperty("--nebula-alerts");
  }, [height]);
  return (
    <Stack ref={ref} gap="xs" mb="md" role="region" aria-label={t("alerts.label")}>
      {alerts.map((a) => (
        <Alert
          key={`${a.node_id} ${a.alert_type}`}
          color={a.alert_type === "disk_warning" ? "orange" : "red"}
          variant="light"
          icon={<IconAlertTriangle />}
          title={titleOf(a.alert_type, t)}
          py="xs"
        >
          <span className="foreign">{sentence(a.message)}</span>{" "}
          {a.node_id && (
            <Anchor component={Link} to={`/nodes/${encodeURIComponent(a.node_id)}`} size="sm" underline="always">
              {t("alerts.node")}
            </Anchor>
          )}
        </Alert>
      ))}
    </Stack>
  );
}

const known = ["disk_warning", "disk_critical", "mass_loss", "node_lost", "drain_blocked"] as const;

function titleOf(type: string, t: Translate): string {
  const k = known.find((k) => k === type);
  return k ? t(`alerts.${k}`) : type;
}
