// Filters live in the address, so that a filtered list can be linked to and "back" undoes a filter.
import { type ReactNode, useEffect, useId, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useSearchParams } from 'wouter';
import { Button } from './Button.tsx';
import type { Sorting } from './DataTable.tsx';

const TYPING_MILLISECONDS = 250;

/** One value of the address's query; undefined if it is not there. */
export function useQueryValue(name: string): [string | undefined, (value: string | undefined) => void] {
  const [params, setParams] = useSearchParams();
  const value = params.get(name) ?? undefined;
  const set = (next: string | undefined) => {
    setParams(
      (before) => {
        const after = new URLSearchParams(before);
        if (next === undefined || next === '') after.delete(name);
        else after.set(name, next);
        return after;
      },
      { replace: false },
    );
  };
  return [value, set];
}

/** The order that the address names, such as "sort=UPDATED_AT-DESC"; the first of `fields` unless it names one. */
export function useSorting<Field extends string>(
  fields: readonly [Field, ...Field[]],
): [Sorting & { field: Field }, (sorting: Sorting) => void] {
  const [value, setValue] = useQueryValue('sort');
  const [named, direction] = (value ?? '').split('-');
  const field = fields.find((each) => each === named) ?? fields[0];
  return [
    { field, direction: direction === 'DESC' ? 'DESC' : 'ASC' },
    (next) => setValue(`${next.field}-${next.direction}`),
  ];
}

export const FilterBar = ({ label, children }: { label: string; children: ReactNode }) => (
  <form className="filter-bar" role="search" aria-label={label} onSubmit={(event) => event.preventDefault()}>
    {children}
  </form>
);

export function FilterText({ name, label, placeholder }: { name: string; label: string; placeholder?: string }) {
  const [value, setValue] = useQueryValue(name);
  const [text, setText] = useState(value ?? '');
  const field = useId();
  useEffect(() => setText(value ?? ''), [value]);
  useEffect(() => {
    if (text === (value ?? '')) return;
    const timer = setTimeout(() => setValue(text), TYPING_MILLISECONDS);
    return () => clearTimeout(timer);
    // Only typing starts the timer.
  }, [text]);
  return (
    <div className="field field-inline">
      <label htmlFor={field}>{label}</label>
      <input id={field} type="search" value={text} placeholder={placeholder} onChange={(event) => setText(event.target.value)} />
    </div>
  );
}

interface FilterChoiceProps {
  name: string;
  label: string;
  choices: readonly { value: string; text: string }[];
  /** What it is called when nothing is chosen; otherwise "all". */
  all?: string;
}

export function FilterChoice({ name, label, choices, all }: FilterChoiceProps) {
  const { t } = useTranslation();
  const [value, setValue] = useQueryValue(name);
  const field = useId();
  return (
    <div className="field field-inline">
      <label htmlFor={field}>{label}</label>
      <select id={field} value={value ?? ''} onChange={(event) => setValue(event.target.value)}>
        <option value="">{all ?? t('filter.all')}</option>
        {choices.map((choice) => (
          <option key={choice.value} value={choice.value}>
            {choice.text}
          </option>
        ))}
      </select>
    </div>
  );
}

/** Takes all filters away; shown only while there are some. */
export function FilterReset({ names }: { names: readonly string[] }) {
  const { t } = useTranslation();
  const [params, setParams] = useSearchParams();
  if (!names.some((name) => params.has(name))) return null;
  return (
    <Button
      kind="quiet"
      icon="close"
      onPress={() =>
        setParams((before) => {
          const after = new URLSearchParams(before);
          for (const name of names) after.delete(name);
          return after;
        })
      }
    >
      {t('filter.reset')}
    </Button>
  );
}
