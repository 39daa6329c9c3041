import { Group, Paper, Text } from "@mantine/core";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import type { Pages } from "../../api/pages";
import { Faces } from "../../ui/faces";
import { type Column, Table } from "../../ui/Table";

type Props<T> = {
  label: string;
  pages: Pages<T>;
  columns: Column<T>[];
  idOf: (row: T) => string;
  sort: string;
  onSort: (sort: string) => void;
  empty: ReactNode;
  filter?: ReactNode;
  action?: ReactNode;
};

/** A list of this page: what narrows it, what can be added, how many there are, and the rows. */
export function ListCard<T>({ label, pages, columns, idOf, sort, onSort, empty, filter, action }: Props<T>) {
  const { t } = useTranslation("access");
  const long = (pages.rows?.length ?? 0) > 40;
  return (
    <Paper className="card access-list">
      <Group justify="space-between" p="sm" gap="sm">
        <Group gap="sm">
          {filter}
          {pages.total !== null && (
            <Text size="sm" c="dimmed" role="status">
              {t("count", { count: pages.total })}
            </Text>
          )}
        </Group>
        {action}
      </Group>
      <Faces of={{ data: pages.rows, error: pages.error, refresh: pages.refresh }} empty={empty} isEmpty={(rows) => rows.length === 0}>
        {(rows) => (
          <Table
            label={label}
            columns={columns}
            rows={rows}
            idOf={idOf}
            sort={sort}
            onSort={onSort}
            onEnd={pages.more}
            total={pages.total}
            height={long ? "max(360px, calc(100dvh - 300px))" : undefined}
          />
        )}
      </Faces>
    </Paper>
  );
}
