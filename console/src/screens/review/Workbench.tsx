// A list beside the chosen entry, made for working through it: by keyboard one by one, or many at once.
import { type ReactNode, useEffect, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useLocation, useSearchParams } from 'wouter';
import { useAddress } from '../../app/address.ts';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { TableFoot } from '../../components/DataTable.tsx';
import { CheckField } from '../../components/forms.tsx';
import { ErrorPanel, type Problem, Skeleton } from '../../components/states.tsx';
import './review.css';

export interface Shortcut<Row> {
  key: string;
  title: string;
  run: (row: Row) => void;
}

export interface Selection {
  /** All that match the filters, also those that are not shown. */
  all: boolean;
  ids: readonly string[];
  count: number;
}

interface WorkbenchProps<Row extends { id: string }> {
  label: string;
  rows: readonly Row[];
  total: number | undefined;
  loading: boolean;
  problem: Problem | undefined;
  hasMore: boolean;
  onMore: () => void;
  onReload: () => void;
  /** What is shown instead of an empty list. */
  empty: ReactNode;
  /** The entry in the list. */
  line: (row: Row) => ReactNode;
  /** The entry in words, for the label of its box. */
  name: (row: Row) => string;
  detail: (row: Row) => ReactNode;
  /** An entry that a link names and the list does not show. */
  linked: (id: string) => ReactNode;
  shortcuts: readonly Shortcut<Row>[];
  /** What can be done with many at once; left out for viewers who may not. */
  bulk?: ((selection: Selection, clear: () => void) => ReactNode) | undefined;
}

const STORAGE_KEY = 'rolecall.shortcuts';
/** For so long after a decision the focus is looked for. */
const FOCUS_LOOK_MILLISECONDS = 50;
const MAX_FOCUS_LOOKS = 40;

function shortcutsWanted(): boolean {
  try {
    return localStorage.getItem(STORAGE_KEY) !== 'off';
  } catch {
    return true;
  }
}

function keepShortcuts(wanted: boolean) {
  try {
    if (wanted) localStorage.removeItem(STORAGE_KEY);
    else localStorage.setItem(STORAGE_KEY, 'off');
  } catch {
    // Then it lasts until the page is closed.
  }
}

/** Whether a key belongs to a field or a dialog instead. */
function isElsewhere(event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return true;
  if (document.querySelector('[role=dialog], [role=alertdialog], [role=menu]')) return true;
  const target = event.target;
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !['checkbox', 'radio', 'button'].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable;
}

export function Workbench<Row extends { id: string }>(props: WorkbenchProps<Row>) {
  const { label, rows, total, loading, problem, hasMore, onMore, line, name, detail, shortcuts, bulk } = props;
  const { t, i18n } = useTranslation('review');
  const { get, set } = useAddress();
  const [params] = useSearchParams();
  const [location] = useLocation();
  const [checked, setChecked] = useState<ReadonlySet<string>>(new Set());
  const [all, setAll] = useState(false);
  const [help, setHelp] = useState(false);
  const [wanted, setWanted] = useState(shortcutsWanted);
  const list = useRef<HTMLUListElement>(null);
  const seen = useRef(new Set<string>());
  const lastPlace = useRef(0);

  for (const row of rows) seen.current.add(row.id);
  const asked = get('id');
  const place = rows.findIndex((row) => row.id === asked);
  if (place >= 0) lastPlace.current = place;
  const linked = asked !== undefined && place < 0 && !loading && !seen.current.has(asked) ? asked : undefined;
  // After a decision the entry is gone: the next one takes its place.
  const currentPlace = place >= 0 ? place : Math.min(lastPlace.current, rows.length - 1);
  const current = linked === undefined ? rows[currentPlace] : undefined;

  // Another filter is another list.
  const filter = new URLSearchParams(params);
  filter.delete('id');
  const question = `${location}?${filter}`;
  useEffect(() => {
    setChecked(new Set());
    setAll(false);
    lastPlace.current = 0;
  }, [question]);

  const focusLine = (id: string) => {
    const found = [...(list.current?.querySelectorAll<HTMLElement>('[data-line]') ?? [])].find((each) => each.dataset.line === id);
    found?.focus();
    found?.scrollIntoView({ block: 'nearest' });
  };
  const select = (row: Row | undefined) => {
    if (!row) return;
    set({ id: row.id }, true);
    focusLine(row.id);
  };
  const toggle = (id: string) => {
    setAll(false);
    setChecked((before) => {
      const next = new Set(before);
      if (!next.delete(id)) next.add(id);
      return next;
    });
  };

  const keys = useRef<(event: KeyboardEvent) => void>(() => undefined);
  keys.current = (event) => {
    if (isElsewhere(event)) return;
    const shortcut = shortcuts.find((each) => each.key === event.key);
    if (event.key === '?') setHelp(true);
    else if (event.key === 'j') {
      select(rows[currentPlace + 1]);
      if (currentPlace >= rows.length - 3 && hasMore) onMore();
    } else if (event.key === 'k') select(rows[currentPlace - 1]);
    else if (event.key === 'x' && bulk && current) toggle(current.id);
    else if (shortcut && current) shortcut.run(current);
    else return;
    event.preventDefault();
  };
  useEffect(() => {
    if (!wanted) return;
    const listen = (event: KeyboardEvent) => keys.current(event);
    document.addEventListener('keydown', listen);
    return () => document.removeEventListener('keydown', listen);
  }, [wanted]);

  // When the focused entry goes, the focus goes on to the next one instead of to the top of the page: as soon as the
  // dialog in which that was decided is closed, which takes the focus along when it goes.
  const currentId = current?.id;
  const before = useRef<string>(undefined);
  useEffect(() => {
    // While the list is read again there is none.
    if (currentId === undefined) return undefined;
    const gone = before.current !== undefined && before.current !== currentId;
    before.current = currentId;
    if (!gone) return undefined;
    let looks = 0;
    const timer = setInterval(() => {
      if (document.querySelector('[role=dialog], [role=alertdialog]')) return;
      if (document.activeElement === null || document.activeElement === document.body) focusLine(currentId);
      looks += 1;
      if (looks === MAX_FOCUS_LOOKS) clearInterval(timer);
    }, FOCUS_LOOK_MILLISECONDS);
    return () => clearInterval(timer);
  }, [currentId]);

  const shownChecked = rows.filter((row) => checked.has(row.id)).map((row) => row.id);
  const selection: Selection = { all, ids: shownChecked, count: all ? (total ?? shownChecked.length) : shownChecked.length };
  const clear = () => {
    setChecked(new Set());
    setAll(false);
  };
  const everyChecked = rows.length > 0 && shownChecked.length === rows.length;
  const number = new Intl.NumberFormat(i18n.language);

  return (
    <>
      {problem && <ErrorPanel problem={problem} onRetry={props.onReload} />}
      {loading && rows.length === 0 && <Skeleton lines={8} />}
      {!loading && !problem && rows.length === 0 && linked === undefined && <section className="card">{props.empty}</section>}
      {(rows.length > 0 || linked !== undefined) && (
        <div className="workbench">
          <section className="card workbench-list" aria-label={label}>
            <div className="workbench-tools">
              {bulk && (
                <CheckField
                  label={all ? t('bench.allChosen', { count: selection.count }) : t('bench.choosePage')}
                  checked={everyChecked || all}
                  onChange={(on) => {
                    setAll(false);
                    setChecked(new Set(on ? rows.map((row) => row.id) : []));
                  }}
                />
              )}
              <Button kind="quiet" onPress={() => setHelp(true)}>
                {t('bench.keys')}
              </Button>
            </div>
            {bulk && everyChecked && !all && total !== undefined && total > rows.length && (
              <Button kind="quiet" onPress={() => setAll(true)}>
                {t('bench.chooseAll', { count: total, shown: number.format(total) })}
              </Button>
            )}
            {bulk && selection.count > 0 && (
              <div className="bulk-bar" role="group" aria-label={t('bench.bulk')}>
                <strong role="status">{t('bench.chosen', { count: selection.count })}</strong>
                <div className="actions">{bulk(selection, clear)}</div>
              </div>
            )}
            <ul className="plain lines" ref={list}>
              {rows.map((row) => (
                <li key={row.id} className={row.id === currentId ? 'line line-current' : 'line'}>
                  {bulk && (
                    <input
                      type="checkbox"
                      aria-label={t('bench.choose', { name: name(row) })}
                      checked={all || checked.has(row.id)}
                      onChange={() => toggle(row.id)}
                    />
                  )}
                  <Link
                    href={`${location}?${new URLSearchParams([...filter, ['id', row.id]])}`}
                    replace
                    data-line={row.id}
                    aria-current={row.id === currentId ? 'true' : undefined}
                  >
                    {line(row)}
                  </Link>
                </li>
              ))}
            </ul>
            <TableFoot shown={rows.length} total={total} loading={loading} onMore={hasMore ? onMore : undefined} />
          </section>
          <section className="card workbench-detail" aria-label={t('bench.detail')}>
            {linked !== undefined ? props.linked(linked) : current && detail(current)}
          </section>
        </div>
      )}
      <PlainDialog isOpen={help} onClose={() => setHelp(false)} title={t('bench.keys')}>
        <dl className="keys">
          {[
            ['j', t('bench.keyNext')],
            ['k', t('bench.keyPrevious')],
            ...shortcuts.map((shortcut) => [shortcut.key, shortcut.title] as const),
            ...(bulk ? [['x', t('bench.keyChoose')] as const] : []),
            ['?', t('bench.keyHelp')],
          ].map(([key, title]) => (
            <div key={key}>
              <dt>
                <kbd>{key}</kbd>
              </dt>
              <dd>{title}</dd>
            </div>
          ))}
        </dl>
        <CheckField
          label={t('bench.keysOn')}
          help={t('bench.keysHelp')}
          checked={wanted}
          onChange={(on) => {
            setWanted(on);
            keepShortcuts(on);
          }}
        />
        <div className="actions dialog-actions">
          <Button kind="primary" onPress={() => setHelp(false)}>
            {t('bench.close')}
          </Button>
        </div>
      </PlainDialog>
    </>
  );
}
