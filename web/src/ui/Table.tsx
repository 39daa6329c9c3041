import { IconArrowDown, IconArrowsSort, IconArrowUp } from "@tabler/icons-react";
import { elementScroll, useVirtualizer, type Virtualizer } from "@tanstack/react-virtual";
import { type CSSProperties, memo, type ReactNode, useCallback, useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";

export type Column<T> = {
  key: string;
  title: ReactNode;
  render: (row: T) => ReactNode;
  /** The field that the list is sorted by when this head is pressed; none: it cannot be. */
  sort?: string;
  number?: boolean;
  /** Pixels, or a percentage. In a long table pixels are the least, and the share of the room that is left. */
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
  /** Columns and rows have the sizes of a long table, however few rows there are. */
  ruled?: boolean;
};

const boxWidth = 40;

/** The columns of a long table, as a grid has them: only with widths that do not hang on what is in the cells is a row drawn without looking at the others. */
export function tracks(columns: { width?: number | string; number?: boolean }[], boxed: boolean): { template: string; least: number } {
  const usual = (c: { number?: boolean }) => (c.number ? 90 : 120);
  const widths = columns.map((c) => (typeof c.width === "number" ? c.width : Math.max(usual(c), 10 * Number.parseFloat(c.width ?? "0"))));
  const all = boxed ? [boxWidth, ...widths] : widths;
  return { template: all.map((w) => (w < 60 ? `${w}px` : `minmax(${w}px, ${w}fr)`)).join(" "), least: all.reduce((a, b) => a + b, 0) };
}

/** Tells a list how large its box is once the browser has laid it out: to be told any sooner, the page would have to be laid out twice. */
function followSize(list: Virtualizer<HTMLDivElement, Element>, told: (size: { width: number; height: number }) => void) {
  if (!list.scrollElement) return;
  const watch = new ResizeObserver(
    ([e]) => e && told({ width: Math.round(e.contentRect.width), height: Math.round(e.contentRect.height) }),
  );
  watch.observe(list.scrollElement);
  return () => watch.disconnect();
}

/** A table. The roles are said, since what is drawn as blocks and grids is a table to no screen reader otherwise. With a height it draws only what can be seen of a long list. */
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
  const long = p.height !== undefined;
  const rowHeight = p.rowHeight ?? 49;
  const virtual = useVirtualizer({
    count: p.rows.length,
    getScrollElement: () => box.current,
    estimateSize: () => rowHeight,
    overscan: 6,
    enabled: long,
    useFlushSync: false,
    // The rows are drawn with the table: about as many as can be seen, until its height is known.
    initialRect: { width: 0, height: Math.max(360, window.innerHeight - 260) },
    observeElementRect: followSize,
    // A new list is at its beginning; to scroll it there would have the page laid out before it is whole.
    scrollToFn: (offset, how, list) => offset !== 0 && elementScroll(offset, how, list),
  });
  const items = long ? virtual.getVirtualItems() : null;
  const last = items?.at(-1)?.index ?? -1;
  const { onEnd } = p;
  useEffect(() => {
    if (last >= 0 && last >= p.rows.length - 40) onEnd?.();
  }, [last, p.rows.length, onEnd]);
  const shown = items ? items.map((i) => [i.index, p.rows[i.index]!] as const) : p.rows.map((r, i) => [i, r] as const);
  const some = p.selection !== undefined && p.selection.chosen.size > 0 && p.rows.some((r) => p.selection!.chosen.has(p.idOf(r)));
  const all = some && p.rows.every((r) => p.selection!.chosen.has(p.idOf(r)));
  const grid = long || p.ruled ? tracks(p.columns, p.selection !== undefined) : null;
  return (
    // What scrolls must be reachable by keyboard: hence the tabIndex.
    <section
      className={grid ? `grid-table ruled${long ? " long" : ""}` : "grid-table"}
      ref={box}
      style={
        grid
          ? ({ height: p.height, "--columns": grid.template, "--least": `${grid.least}px`, "--row": `${rowHeight}px` } as CSSProperties)
          : undefined
      }
      tabIndex={0}
      aria-label={p.label}
    >
      <table role="table" aria-label={p.label} aria-rowcount={(p.total ?? p.rows.length) + 1}>
        <thead role="rowgroup">
          <tr role="row" aria-rowindex={1}>
            {p.selection && (
              <th role="columnheader" style={{ width: boxWidth }}>
                <input
                  type="checkbox"
                  className="tick"
                  aria-label={t("table.selectAll")}
                  checked={all}
                  ref={(box) => {
                    if (box) box.indeterminate = some && !all;
                  }}
                  onChange={() => p.selection!.onChange(all ? new Set() : new Set(p.rows.map(p.idOf)))}
                />
              </th>
            )}
            {p.columns.map((c) => (
              <Head key={c.key} column={c} sort={p.sort} onSort={p.onSort} />
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup" style={items ? { height: virtual.getTotalSize(), paddingTop: items[0]?.start ?? 0 } : undefined}>
          {shown.map(([i, row]) => (
            <Row
              key={p.idOf(row)}
              index={i}
              id={p.idOf(row)}
              row={row}
              columns={p.columns}
              label={p.selection?.label(p.idOf(row))}
              chosen={p.selection?.chosen.has(p.idOf(row)) ?? false}
              toggle={toggle}
            />
          ))}
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
  /** What its box is called; none: it has no box. */
  label: string | undefined;
  chosen: boolean;
  toggle: (id: string) => void;
};

/** A row is drawn again only when something of its own has changed: while a list scrolls, only the rows that come into sight are. */
const Row = memo(function Row<T>({ index, id, row, columns, label, chosen, toggle }: RowProps<T>) {
  return (
    <tr role="row" aria-rowindex={index + 2} data-selected={chosen} data-row={id}>
      {label !== undefined && (
        <td role="cell">
          <input type="checkbox" className="tick" aria-label={label} checked={chosen} onChange={() => toggle(id)} />
        </td>
      )}
      {columns.map((c) =>
        c.head ? (
          <th key={c.key} role="rowheader" scope="row">
            {c.render(row)}
          </th>
        ) : (
          <td key={c.key} role="cell" className={c.number ? "num" : undefined}>
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
      role="columnheader"
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
