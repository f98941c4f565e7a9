// The filter of states, where no choice means those that wait for somebody.
import { useId } from 'react';
import { useQueryValue } from '../../components/FilterBar.tsx';

interface FilterStateProps {
  label: string;
  /** What is shown without a choice. */
  otherwise: string;
  choices: readonly { value: string; text: string }[];
}

export function FilterState({ label, otherwise, choices }: FilterStateProps) {
  const [value, setValue] = useQueryValue('state');
  const field = useId();
  return (
    <div className="field field-inline">
      <label htmlFor={field}>{label}</label>
      <select id={field} value={value ?? ''} onChange={(event) => setValue(event.target.value)}>
        <option value="">{otherwise}</option>
        {choices.map((choice) => (
          <option key={choice.value} value={choice.value}>
            {choice.text}
          </option>
        ))}
      </select>
    </div>
  );
}
