import { Checkbox } from "@mantine/core";
import { IconArrowDown, IconArrowsSort, IconArrowUp } from "@tabler/icons-react";
import { useVirtualizer } from "@tanstack/react-virtual";
import { memo, type ReactNode, useCallback, useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";

export type Column<T> = {
  key: string;
  title: ReactNode;
  render: (row: T) => ReactNode;
  /** The field that the list is sorted by when this head is pressed; none: it cannot be. */
  sort?: string;
  number?: boolean;
  width?: number | string;
  /** Heads the row for screen readers. */
  head?: boolean;
};

export type Selection = { chosen: ReadonlySet<string>; onChange: (chosen: Set<string>) => void; label: (id: string) => string };

type Props<T> = {
  label: string;
  columns: Column<T>[];
  rows: T[];
  idOf: (row: T) => string;
  sort?: string; // field, or -field for the other way round
  onSort?: (sort: string) => void;
  selection?: Selection;
  /** Called when the end of what is loaded comes near. */
  onEnd?: () => void;
  /** How many there are in all, when more than what is loaded. */
  total?: number | null;
  /** The height in which it scrolls, a CSS length. Without it the table is as long as its rows, and all of them are drawn. */
  height?: string;
  rowHeight?: number;
};

/** A table that draws only what can be seen of a long list. */
export function Table<T>(p: Props<T>) {
  const { t } = useTranslation();
  const box = useRef<HTMLDivElement>(null);
  const selection = useRef(p.selection);
  selection.current = p.selection;
  const toggle = useCallback((id: string) => {
    const now = selection.current;
    if (!now) return;
    const next = new Set(now.chosen);
    if (!next.delete(id)) next.add(id);
    now.onChange(next);
  }, []);
  const virtual = useVirtualizer({
    count: p.rows.length,
    getScrollElement: () => box.current,
    estimateSize: () => p.rowHeight ?? 49,
    overscan: 12,
    enabled: p.height !== undefined,
    getItemKey: (i) => p.idOf(p.rows[i]!),
  });
  const items = p.height === undefined ? null : virtual.getVirtualItems();
  const last = items?.at(-1)?.index ?? -1;
  const { onEnd } = p;
  useEffect(() => {
    if (last >= 0 && last >= p.rows.length - 40) onEnd?.();
  }, [last, p.rows.length, onEnd]);
  const first = items?.[0];
  const before = first?.start ?? 0;
  const after = items ? virtual.getTotalSize() - (items.at(-1)?.end ?? 0) : 0;
  const width = p.columns.length + (p.selection ? 1 : 0);
  const shown = items ? items.map((i) => [i.index, p.rows[i.index]!] as const) : p.rows.map((r, i) => [i, r] as const);
  const all = p.selection && p.rows.length > 0 && p.rows.every((r) => p.selection!.chosen.has(p.idOf(r)));
  const some = p.selection && p.rows.some((r) => p.selection!.chosen.has(p.idOf(r)));
  return (
    // What scrolls must be reachable by keyboard: hence the tabIndex.
    <section
      className="grid-table"
      ref={box}
      style={{ maxHeight: p.height, contain: p.height ? "strict" : undefined, height: p.height }}
      tabIndex={0}
      aria-label={p.label}
    >
      <table aria-label={p.label} aria-rowcount={p.total ?? p.rows.length}>
        <thead>
          <tr>
            {p.selection && (
              <th style={{ width: 40 }}>
                <Checkbox
                  size="xs"
                  aria-label={t("table.selectAll")}
                  checked={all ?? false}
                  indeterminate={!all && some}
                  onChange={() => p.selection!.onChange(all ? new Set() : new Set(p.rows.map(p.idOf)))}
                />
              </th>
            )}
            {p.columns.map((c) => (
              <Head key={c.key} column={c} sort={p.sort} onSort={p.onSort} />
            ))}
          </tr>
        </thead>
        <tbody>
          {before > 0 && (
            <tr className="spacer" aria-hidden="true">
              <td colSpan={width} style={{ height: before }} />
            </tr>
          )}
          {shown.map(([i, row]) => (
            <Row
              key={p.idOf(row)}
              index={i}
              id={p.idOf(row)}
              row={row}
              columns={p.columns}
              height={p.height ? (p.rowHeight ?? 49) : undefined}
              label={p.selection?.label(p.idOf(row))}
              chosen={p.selection?.chosen.has(p.idOf(row)) ?? false}
              toggle={toggle}
            />
          ))}
          {after > 0 && (
            <tr className="spacer" aria-hidden="true">
              <td colSpan={width} style={{ height: after }} />
            </tr>
          )}
        </tbody>
      </table>
    </section>
  );
}

type RowProps<T> = {
  index: number;
  id: string;
  row: T;
  columns: Column<T>[];
  height: number | undefined;
  /** What its box is called; none: it has no box. */
  label: string | undefined;
  chosen: boolean;
  toggle: (id: string) => void;
};

/** A row is drawn again only when something of its own has changed: while a list scrolls, only the rows that come into sight are. */
const Row = memo(function Row<T>({ index, id, row, columns, height, label, chosen, toggle }: RowProps<T>) {
  return (
    <tr aria-rowindex={index + 2} data-selected={chosen} data-row={id} style={height === undefined ? undefined : { height }}>
      {label !== undefined && (
        <td>
          <Checkbox size="xs" aria-label={label} checked={chosen} onChange={() => toggle(id)} />
        </td>
      )}
      {columns.map((c) =>
        c.head ? (
          <th key={c.key} scope="row">
            {c.render(row)}
          </th>
        ) : (
          <td key={c.key} className={c.number ? "num" : undefined}>
            {c.render(row)}
          </td>
        ),
      )}
    </tr>
  );
}) as <T>(props: RowProps<T>) => ReactNode;

function Head<T>({ column: c, sort, onSort }: { column: Column<T>; sort?: string; onSort?: (sort: string) => void }) {
  const down = c.sort !== undefined && sort === `-${c.sort}`;
  const up = c.sort !== undefined && sort === c.sort;
  const Icon = up ? IconArrowUp : down ? IconArrowDown : IconArrowsSort;
  return (
    <th
      scope="col"
      className={c.number ? "num" : undefined}
      style={{ width: c.width }}
      aria-sort={c.sort ? (up ? "ascending" : down ? "descending" : "none") : undefined}
    >
      {c.sort && onSort ? (
        <button type="button" onClick={() => onSort(up ? `-${c.sort}` : c.sort!)}>
          {c.title}
          <Icon size={14} opacity={up || down ? 1 : 0.45} aria-hidden="true" />
        </button>
      ) : (
        c.title
      )}
    </th>
  );
}
