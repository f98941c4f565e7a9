// Tables: a plain one for pages of rows, and a virtual one, which has only the visible rows in the document.
import { type ReactNode, memo, useEffect, useLayoutEffect, useRef, useState } from 'react';
import { flushSync } from 'react-dom';
import { useTranslation } from 'react-i18next';
import { Icon } from './Icon.tsx';
import type { PagedList } from './paging.ts';
import { ErrorPanel, Skeleton } from './states.tsx';

export interface Column<Row> {
  key: string;
  title: ReactNode;
  cell: (row: Row) => ReactNode;
  /** The cell that names the row. */
  header?: boolean;
  numeric?: boolean;
  /** Where it can be sorted by this column: the value of `orderBy.field`. */
  sort?: string;
}

export interface Sorting {
  field: string;
  direction: 'ASC' | 'DESC';
}

interface TableProps<Row> {
  label: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  rowKey: (row: Row) => string;
  sorting?: Sorting;
  onSort?: (sorting: Sorting) => void;
}

function HeadCell<Row>({ column, sorting, onSort }: { column: Column<Row>; sorting?: Sorting; onSort?: (sorting: Sorting) => void }) {
  const { t } = useTranslation();
  const field = column.sort;
  if (field === undefined || !onSort) return <>{column.title}</>;
  const current = sorting?.field === field ? sorting.direction : undefined;
  return (
    <button
      type="button"
      className="sort-button"
      onClick={() => onSort({ field, direction: current === 'ASC' ? 'DESC' : 'ASC' })}
      title={t('table.sort')}
    >
      {column.title}
      <span aria-hidden="true">{current === 'ASC' ? ' ↑' : current === 'DESC' ? ' ↓' : ''}</span>
    </button>
  );
}

const ariaSort = <Row,>(column: Column<Row>, sorting: Sorting | undefined) =>
  column.sort === undefined || sorting?.field !== column.sort ? undefined : sorting.direction === 'ASC' ? 'ascending' : 'descending';

export function DataTable<Row>({ label, columns, rows, rowKey, sorting, onSort }: TableProps<Row>) {
  return (
    <div className="table-scroll" tabIndex={0} role="region" aria-label={label}>
      <table className="table">
        <caption className="visually-hidden">{label}</caption>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.key} scope="col" className={column.numeric ? 'numeric' : undefined} aria-sort={ariaSort(column, sorting)}>
                <HeadCell column={column} {...(sorting && { sorting })} {...(onSort && { onSort })} />
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={rowKey(row)}>
              {columns.map((column) =>
                column.header ? (
                  <th key={column.key} scope="row">
                    {column.cell(row)}
                  </th>
                ) : (
                  <td key={column.key} className={column.numeric ? 'numeric' : undefined}>
                    {column.cell(row)}
                  </td>
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface VirtualTableProps<Row> extends TableProps<Row> {
  /** All rows there are, if that is known; `rows` are those that were loaded. */
  total?: number | undefined;
  /** Called when the end of the loaded rows comes near. */
  onEnd?: (() => void) | undefined;
  rowHeight?: number;
  /** A CSS grid template, for example "2fr 1fr 8rem". */
  template: 'one' | 'two' | 'three' | 'four' | 'five' | 'six' | 'seven' | 'people' | 'groups' | 'roles' | 'ledger' | 'report' | 'leavers';
  onOpen?: (row: Row) => void;
}

/** Browsers draw no element that is much higher than this; a longer list moves faster than the scroll bar. */
const MAX_PIXELS = 15_000_000;
const OVERSCAN = 6;
/** On paper there is no scrolling: all rows that were loaded are printed, up to so many. */
const MAX_PRINTED = 5_000;
/** The rows in the document change in steps, so that most scroll events change nothing. */
const STEP = 4;

function usePrinting(): boolean {
  const [printing, setPrinting] = useState(false);
  useEffect(() => {
    const query = matchMedia('print');
    // The rows must be in the document before the browser takes its picture of it.
    const look = () => flushSync(() => setPrinting(query.matches));
    query.addEventListener('change', look);
    return () => query.removeEventListener('change', look);
  }, []);
  return printing;
}

/** Which of `count` rows of one height are to be drawn, and how far from their place because the list is very long. */
function useRowWindow(count: number, rowHeight: number) {
  const scroller = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ first: 0, last: 24, shift: 0 });
  const whole = count * rowHeight;
  const height = Math.min(whole, MAX_PIXELS);
  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const look = () => {
      const seen = element.clientHeight;
      const place = element.scrollTop;
      const top = height < whole ? (place / (height - seen)) * (whole - seen) : place;
      const from = Math.floor(top / rowHeight / STEP) * STEP;
      const first = Math.max(0, from - OVERSCAN);
      const last = Math.min(count, from + Math.ceil(seen / rowHeight) + STEP + OVERSCAN);
      const shift = place - top;
      setView((before) => (before.first === first && before.last === last && before.shift === shift ? before : { first, last, shift }));
    };
    look();
    element.addEventListener('scroll', look, { passive: true });
    const resized = new ResizeObserver(look);
    resized.observe(element);
    return () => {
      element.removeEventListener('scroll', look);
      resized.disconnect();
    };
  }, [count, rowHeight, whole, height]);
  return { scroller, height, ...view };
}

interface VirtualRowProps<Row> {
  row: Row;
  index: number;
  top: number;
  height: number;
  columns: readonly Column<Row>[];
  onOpen: ((row: Row) => void) | undefined;
}

function VirtualRowCells<Row>({ row, index, top, height, columns, onOpen }: VirtualRowProps<Row>) {
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      className={onOpen ? 'virtual-row virtual-open' : 'virtual-row'}
      style={{ transform: `translateY(${top}px)`, height }}
      onClick={onOpen && (() => onOpen(row))}
    >
      {columns.map((column) => (
        <div key={column.key} role={column.header ? 'rowheader' : 'cell'} className={column.numeric ? 'numeric' : undefined}>
          {column.cell(row)}
        </div>
      ))}
    </div>
  );
}

/** Drawn again only when something of it changed, not whenever one scrolls. */
const VirtualRow = memo(VirtualRowCells) as typeof VirtualRowCells;

/** Rows as a table for screen readers: each row says its number, and how many there are. `columns` should be memoized. */
export function VirtualTable<Row>({
  label,
  columns,
  rows,
  rowKey,
  sorting,
  onSort,
  total,
  onEnd,
  rowHeight = 52,
  template,
  onOpen,
}: VirtualTableProps<Row>) {
  const { t } = useTranslation();
  const { scroller, height, first, last, shift } = useRowWindow(rows.length, rowHeight);
  const printing = usePrinting();
  const [start, end] = printing ? [0, Math.min(rows.length, MAX_PRINTED)] : [first, last];
  useEffect(() => {
    if (onEnd && rows.length > 0 && last >= rows.length - 20) onEnd();
  }, [last, rows.length, onEnd]);
  return (
    <div className={`virtual virtual-${template}`} role="table" aria-label={label} aria-rowcount={(total ?? rows.length) + 1}>
      <div role="rowgroup">
        <div role="row" aria-rowindex={1} className="virtual-row virtual-head">
          {columns.map((column) => (
            <div key={column.key} role="columnheader" className={column.numeric ? 'numeric' : undefined} aria-sort={ariaSort(column, sorting)}>
              <HeadCell column={column} {...(sorting && { sorting })} {...(onSort && { onSort })} />
            </div>
          ))}
        </div>
      </div>
      <div
        className="virtual-scroll"
        ref={scroller}
        role="rowgroup"
        tabIndex={0}
        aria-label={t('table.rows', { label })}
        style={{ blockSize: printing ? 'auto' : height }}
      >
        <div className="virtual-space" role="presentation" style={{ height: printing ? 'auto' : height }}>
          {rows.slice(start, end).map((row, place) => (
            <VirtualRow
              key={rowKey(row)}
              row={row}
              index={start + place}
              top={printing ? 0 : (start + place) * rowHeight + shift}
              height={rowHeight}
              columns={columns}
              onOpen={onOpen}
            />
          ))}
        </div>
      </div>
    </div>
  );
}

/** How many rows there are, and the way to more of them. */
export function TableFoot({ shown, total, loading, onMore }: { shown: number; total?: number | undefined; loading: boolean; onMore?: (() => void) | undefined }) {
  const { t, i18n } = useTranslation();
  const number = new Intl.NumberFormat(i18n.language);
  return (
    <div className="table-foot">
      <span role="status">
        {total === undefined ? t('table.shown', { shown: number.format(shown) }) : t('table.shownOf', { shown: number.format(shown), total: number.format(total) })}
      </span>
      {loading && <Icon name="spinner" spin />}
      {onMore && !loading && (
        <button type="button" className="button button-secondary" onClick={onMore}>
          {t('table.more')}
        </button>
      )}
    </div>
  );
}

interface PagedTableProps<Row> extends Omit<VirtualTableProps<Row>, 'rows' | 'total' | 'onEnd'> {
  list: PagedList<Row>;
  /** Shown if there is no row. */
  empty: ReactNode;
}

/** A list that is read page by page as one scrolls: what went wrong, that it loads, that it is empty, or its rows. */
export function PagedTable<Row>({ list, empty, ...table }: PagedTableProps<Row>) {
  if (list.problem) return <ErrorPanel problem={list.problem} onRetry={list.reload} />;
  if (list.rows.length === 0) return list.loading ? <Skeleton lines={8} /> : empty;
  return (
    <>
      <VirtualTable {...table} rows={list.rows} total={list.total} onEnd={list.loadMore} />
      <TableFoot shown={list.rows.length} total={list.total} loading={list.loading} />
    </>
  );
}
