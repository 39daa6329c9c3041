import { Button, Paper } from "@mantine/core";
import { IconDownload, IconFileText } from "@tabler/icons-react";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { useMay } from "../../domain/session";
import { PageHead } from "../../ui/bits";
import { Empty, Faces } from "../../ui/faces";
import { Table } from "../../ui/Table";
import "./audit.css";
import { Chain } from "./Chain";
import { auditColumns } from "./columns";
import { Filters } from "./Filters";
import { auditPath, narrowed } from "./logic";
import { useAudit } from "./queries";
import { RecordDrawer } from "./RecordDrawer";

/** Who did what, from where, and how it ended: newest first, page by page. */
export function AuditPage() {
  const { t } = useTranslation("audit");
  const search = useSearch({ from: "/shell/audit" });
  const navigate = useNavigate();
  const admin = useMay("admin");
  const log = useAudit(auditPath(search));
  const long = (log.rows?.length ?? 0) > 40;
  const columns = auditColumns(t, (record) => navigate({ to: "/audit", search: { ...search, record } }));
  return (
    <>
      <PageHead
        title={t("title")}
        lead={t("lead")}
        actions={
          admin && (
            <Button
              component="a"
              href="/api/v2/audit/export"
              download="nebula-audit.ndjson"
              variant="default"
              leftSection={<IconDownload size={16} />}
            >
              {t("export")}
            </Button>
          )
        }
      >
        <Chain />
      </PageHead>
      <Paper className="card audit-list">
        <Filters
          search={search}
          onChange={(change) => navigate({ to: "/audit", search: { ...search, ...change, record: undefined }, replace: true })}
        />
        <Faces
          of={{ data: log.rows, error: log.error, refresh: log.refresh }}
          isEmpty={(rows) => rows.length === 0}
          empty={
            <Empty icon={<IconFileText size={40} stroke={1.3} />} title={narrowed(search) ? t("noneFound") : t("none")}>
              {narrowed(search) && t("noneFoundText")}
            </Empty>
          }
        >
          {(rows) => (
            <Table
              label={t("title")}
              columns={columns}
              rows={rows}
              idOf={(r) => String(r.seq)}
              onEnd={log.more}
              height={long ? "max(400px, calc(100dvh - 330px))" : undefined}
              rowHeight={41}
            />
          )}
        </Faces>
      </Paper>
      {search.record !== undefined && (
        <RecordDrawer seq={search.record} onClose={() => navigate({ to: "/audit", search: { ...search, record: undefined } })} />
      )}
    </>
  );
}
