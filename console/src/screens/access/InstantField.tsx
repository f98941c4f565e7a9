import { useEffect, useId, useRef, useState } from 'react';
import { fromField, toField, useFieldZone } from './instant.ts';

interface InstantFieldProps {
  label: string;
  value: string | undefined;
  onChange: (instant: string | undefined) => void;
  min?: string | undefined;
  max?: string | undefined;
  help?: string;
}

/** A date and a time in the zone that was chosen. */
export function InstantField({ label, value, onChange, min, max, help }: InstantFieldProps) {
  const { utc, name } = useFieldZone();
  const field = useId();
  const [text, setText] = useState(value === undefined ? '' : toField(value, utc));
  const told = useRef(value);
  useEffect(() => {
    // What was typed here stays as it was typed; only a value from outside replaces it.
    if (value === told.current) return;
    told.current = value;
    setText(value === undefined ? '' : toField(value, utc));
  }, [value, utc]);
  return (
    <div className="field field-inline">
      <label htmlFor={field}>
        {label} <span className="muted">({name})</span>
      </label>
      <input
        id={field}
        type="datetime-local"
        step={1}
        value={text}
        min={min === undefined ? undefined : toField(min, utc)}
        max={max === undefined ? undefined : toField(max, utc)}
        aria-describedby={help ? `${field}-help` : undefined}
        onChange={(event) => {
          setText(event.target.value);
          const next = fromField(event.target.value, utc);
          // A year that is still being typed is no instant.
          if (next !== undefined && next < '1970') return;
          told.current = next;
          onChange(next);
        }}
      />
      {help && (
        <span id={`${field}-help`} className="muted">
          {help}
        </span>
      )}
    </div>
  );
}
