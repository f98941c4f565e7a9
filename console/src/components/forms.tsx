// Fields of forms: the browser's own controls, each with its label, help and mistake.
import { type ReactNode, useEffect, useId, useRef } from 'react';

interface FieldProps {
  label: ReactNode;
  help?: ReactNode;
  /** What is wrong with the value. */
  mistake?: string | undefined;
}

interface TextFieldProps extends FieldProps {
  value: string;
  onChange: (value: string) => void;
  type?: 'text' | 'password' | 'number' | 'email' | 'url' | 'search' | 'datetime-local' | 'date';
  required?: boolean;
  min?: number;
  max?: number;
  maxLength?: number;
  placeholder?: string;
  /** Addresses, codes and the like: written from left to right in every language. */
  technical?: boolean;
  multiline?: boolean;
  autoFocus?: boolean;
}

const describe = (id: string, help: ReactNode, mistake: string | undefined) =>
  [help ? `${id}-help` : '', mistake ? `${id}-mistake` : ''].filter(Boolean).join(' ') || undefined;

function Notes({ id, help, mistake }: { id: string; help?: ReactNode; mistake?: string | undefined }) {
  return (
    <>
      {help && (
        <p className="muted field-help" id={`${id}-help`}>
          {help}
        </p>
      )}
      {mistake && (
        <p className="field-mistake" id={`${id}-mistake`}>
          {mistake}
        </p>
      )}
    </>
  );
}

export function TextField(props: TextFieldProps) {
  const id = useId();
  const { label, help, mistake, value, onChange, technical = false, multiline = false, type = 'text', autoFocus = false } = props;
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (!autoFocus) return;
    // After a dialog has put the focus on its first button.
    const frame = requestAnimationFrame(() => input.current?.focus());
    return () => cancelAnimationFrame(frame);
  }, [autoFocus]);
  const shared = {
    id,
    value,
    required: props.required,
    maxLength: props.maxLength,
    placeholder: props.placeholder,
    'aria-describedby': describe(id, help, mistake),
    'aria-invalid': mistake ? true : undefined,
    autoComplete: 'off',
    spellCheck: !technical,
    dir: technical ? ('ltr' as const) : ('auto' as const),
  };
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {multiline ? (
        <textarea {...shared} rows={3} onChange={(event) => onChange(event.target.value)} />
      ) : (
        <input
          {...shared}
          type={type}
          min={props.min}
          max={props.max}
          ref={input}
          onChange={(event) => onChange(event.target.value)}
        />
      )}
      <Notes id={id} help={help} mistake={mistake} />
    </div>
  );
}

export interface Choice<Value extends string> {
  value: Value;
  text: string;
}

interface SelectFieldProps<Value extends string> extends FieldProps {
  value: Value;
  choices: readonly Choice<Value>[];
  onChange: (value: Value) => void;
}

export function SelectField<Value extends string>(props: SelectFieldProps<Value>) {
  const id = useId();
  const { label, help, mistake, value, choices, onChange } = props;
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <select
        id={id}
        value={value}
        aria-describedby={describe(id, help, mistake)}
        onChange={(event) => {
          const chosen = choices.find((choice) => choice.value === event.target.value);
          if (chosen) onChange(chosen.value);
        }}
      >
        {choices.map((choice) => (
          <option key={choice.value} value={choice.value}>
            {choice.text}
          </option>
        ))}
      </select>
      <Notes id={id} help={help} mistake={mistake} />
    </div>
  );
}

interface CheckFieldProps {
  label: ReactNode;
  help?: ReactNode;
  checked: boolean;
  onChange: (checked: boolean) => void;
  disabled?: boolean;
}

export function CheckField({ label, help, checked, onChange, disabled = false }: CheckFieldProps) {
  const id = useId();
  return (
    <div className="field field-check">
      <input
        id={id}
        type="checkbox"
        checked={checked}
        disabled={disabled}
        aria-describedby={describe(id, help, undefined)}
        onChange={(event) => onChange(event.target.checked)}
      />
      <label htmlFor={id}>{label}</label>
      <Notes id={id} help={help} />
    </div>
  );
}

interface RadioFieldProps<Value extends string> extends FieldProps {
  value: Value | undefined;
  choices: readonly (Choice<Value> & { help?: ReactNode })[];
  onChange: (value: Value) => void;
}

export function RadioField<Value extends string>({ label, help, value, choices, onChange }: RadioFieldProps<Value>) {
  const id = useId();
  return (
    <fieldset className="field field-radio" aria-describedby={describe(id, help, undefined)}>
      <legend>{label}</legend>
      <Notes id={id} help={help} />
      {choices.map((choice) => (
        <div key={choice.value} className="radio">
          <input
            id={`${id}-${choice.value}`}
            type="radio"
            name={id}
            checked={value === choice.value}
            aria-describedby={choice.help ? `${id}-${choice.value}-help` : undefined}
            onChange={() => onChange(choice.value)}
          />
          <label htmlFor={`${id}-${choice.value}`}>{choice.text}</label>
          {choice.help && (
            <p className="muted field-help" id={`${id}-${choice.value}-help`}>
              {choice.help}
            </p>
          )}
        </div>
      ))}
    </fieldset>
  );
}

/** A local date and time of a `datetime-local` field as an instant; undefined while it is none. */
export function toInstant(local: string): string | undefined {
  const date = new Date(local);
  return local === '' || Number.isNaN(date.valueOf()) ? undefined : date.toISOString();
}

/** An instant as a `datetime-local` field has it. */
export function toLocal(instant: string | null | undefined): string {
  if (!instant) return '';
  const date = new Date(instant);
  return new Date(date.valueOf() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
