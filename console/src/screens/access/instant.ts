// Instants in fields: a field shows the time zone that was chosen, an address has the instant itself.
import { usePreferences } from '../../app/preferences.ts';

const pad = (value: number) => String(value).padStart(2, '0');

/** The value of a field of the type "datetime-local". */
export function toField(instant: string, utc: boolean): string {
  const at = new Date(instant);
  if (Number.isNaN(at.getTime())) return '';
  if (utc) return at.toISOString().slice(0, 19);
  const date = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  return `${date}T${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}

/** The instant that such a field means; undefined if it is empty or no instant. */
export function fromField(value: string, utc: boolean): string | undefined {
  if (!value) return undefined;
  const at = new Date(utc ? `${value}Z` : value);
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString();
}

/** Whether fields show Coordinated Universal Time, and the name of the zone that they show. */
export function useFieldZone() {
  const { zone } = usePreferences();
  const utc = zone === 'utc';
  return { utc, name: utc ? 'UTC' : Intl.DateTimeFormat().resolvedOptions().timeZone };
}
