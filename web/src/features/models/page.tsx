import "./models.css";
import { Button, Group, Paper, Text } from "@mantine/core";
import { IconBox, IconPlayerPlay, IconPlayerStop, IconPlus, IconTrash } from "@tabler/icons-react";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useCallback, useState } from "react";
import { useTranslation } from "react-i18next";
import { pollEvery } from "../../api/stream";
import { startModel, stopModel } from "../../domain/modelDeeds";
import { useMay } from "../../domain/session";
import { useLasting } from "../../lib/lasting";
import { PageHead } from "../../ui/bits";
import { Empty, Faces } from "../../ui/faces";
import { ModeDot } from "../../ui/ModeDot";
import { failed } from "../../ui/notify";
import { Table } from "../../ui/Table";
import { useColumns } from "./columns";
import { Filters, Search } from "./Filters";
import { narrowed } from "./logic";
import type { Deed } from "./ModelMenu";
import { useModels, useSummary } from "./queries";
import type { ModelsSearch } from "./search";
import { useTyped } from "./typed";

// Dialogs come when they are asked for: the list does not wait for them.
const DeleteModel = lazy(() => import("../../domain/DeleteModel").then((m) => ({ default: m.DeleteModel })));
const Bulk = lazy(() => import("./Bulk").then((m) => ({ default: m.Bulk })));

type Open = { deed: Deed; uids: string[] };

/** All models: what state each is in and why, and what can be done with one or many. */
export function ModelsPage() {
  const { t } = useTranslation(["models", "common"]);
  const { t: common } = useTranslation();
  const search = useSearch({ from: "/shell/models" });
  const navigate = useNavigate({ from: "/models" });
  const operator = useMay("operator");
  const admin = useMay("admin");
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [open, setOpen] = useState<Open | null>(null);
  const change = useCallback(
    (c: Partial<ModelsSearch>, replace = "q" in c) => navigate({ search: (s) => ({ ...s, ...c }), replace }),
    [navigate],
  );
  const typed = useTyped(search, (q) => change({ q: q || undefined }));
  const pages = useModels(typed.wanted);
  const stale = useLasting(pages.stale, 200);
  const rest = useSummary(search, pages.changes);
  // Where nothing is chosen these are the very same, and counted again with them.
  const states = useSummary({ ...search, state: undefined }, search.state ? pages.changes : 0, search.state && pollEvery);
  const engines = useSummary({ ...search, engine: undefined }, search.engine ? pages.changes : 0, search.engine ? pollEvery : undefined);
  const deed = useCallback(
    (deed: Deed, uid: string) => {
      if (deed === "delete") return setOpen({ deed, uids: [uid] });
      (deed === "start" ? startModel : stopModel)(uid).catch((e) => failed(t(`failed.${deed}`, { uid }), e, common));
    },
    [t, common],
  );
  const columns = useColumns(deed);
  const create = operator && (
    <Button component={Link} to="/new" leftSection={<IconPlus size={16} />}>
      {t("new")}
    </Button>
  );
  const first = pages.rows?.length === 0 && !narrowed(search);
  return (
    <>
      <PageHead title={t("title")} lead={<ModeDot mode={pages.mode} />} actions={!first && create} />
      {!first && (
        <Group gap="xs" mb="sm" role="search" aria-label={t("filter.label")}>
          <Search value={typed.wanted.q ?? ""} onType={typed.type} />
          <Filters search={search} onChange={change} states={states.data} engines={engines.data?.engines} rest={rest.data} />
        </Group>
      )}
      {chosen.size > 0 && (
        <Paper className="card" p="xs" mb="sm">
          <Group gap="xs" role="toolbar" aria-label={t("bulk.label")}>
            <Text size="sm" fw={600} px="xs">
              {t("bulk.chosen", { count: chosen.size })}
            </Text>
            <Act icon={IconPlayerPlay} text={t("deed.start")} on={() => setOpen({ deed: "start", uids: [...chosen] })} />
            <Act icon={IconPlayerStop} text={t("deed.stop")} on={() => setOpen({ deed: "stop", uids: [...chosen] })} />
            {admin && <Act icon={IconTrash} text={t("deed.delete")} danger on={() => setOpen({ deed: "delete", uids: [...chosen] })} />}
            <Button size="xs" variant="subtle" onClick={() => setChosen(new Set())}>
              {t("bulk.none")}
            </Button>
          </Group>
        </Paper>
      )}
      <Faces
        of={{ data: pages.rows, error: pages.error, refetch: pages.refresh }}
        isEmpty={(rows) => rows.length === 0}
        empty={
          <Empty
            icon={<IconBox size={40} stroke={1.3} />}
            title={t(first ? "empty.title" : "none.title")}
            action={
              first ? (
                create
              ) : (
                <Button
                  variant="default"
                  onClick={() => {
                    typed.drop();
                    navigate({ search: { sort: search.sort } });
                  }}
                >
                  {t("none.clear")}
                </Button>
              )
            }
          >
            {t(first ? (operator ? "empty.text" : "empty.ask") : "none.text")}
          </Empty>
        }
      >
        {(rows) => (
          <Paper className="card list" data-stale={stale} style={{ overflow: "hidden" }}>
            <Table
              label={t("title")}
              columns={columns}
              rows={rows}
              idOf={(m) => m.model_uid}
              sort={search.sort ?? "uid"}
              onSort={(sort) => change({ sort: sort === "uid" ? undefined : sort }, true)}
              selection={operator ? { chosen, onChange: setChosen, label: (uid) => t("common:table.select", { name: uid }) } : undefined}
              onEnd={pages.more}
              total={pages.total}
              rowHeight={58}
              ruled
              height={rows.length > 10 ? "max(360px, calc(100dvh - 260px))" : undefined}
            />
          </Paper>
        )}
      </Faces>
      <Suspense>
        {open?.deed === "delete" && open.uids.length === 1 ? (
          <DeleteModel uid={open.uids[0]!} onClose={() => setOpen(null)} onDone={() => setChosen(new Set())} />
        ) : (
          open && (
            <Bulk
              {...open}
              onClose={(failed) => {
                setOpen(null);
                setChosen(new Set(failed));
              }}
            />
          )
        )}
      </Suspense>
    </>
  );
}

function Act(p: { icon: typeof IconTrash; text: string; on: () => void; danger?: boolean }) {
  return (
    <Button size="xs" variant="default" c={p.danger ? "red" : undefined} leftSection={<p.icon size={14} />} onClick={p.on}>
      {p.text}
    </Button>
  );
}
