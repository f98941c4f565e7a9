// An instant: relative, with the exact instant and its time zone on hover; in print the exact instant.
import { useCallback, useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { usePreferences } from '../app/preferences.ts';

const UNITS: readonly [Intl.RelativeTimeFormatUnit, number][] = [
  ['year', 31_557_600],
  ['month', 2_629_800],
  ['week', 604_800],
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
  ['second', 1],
];

/** The reader's own region of the language, such as en-GB for 24 hours and the day before the month. */
const regionOf = (language: string) => navigator.languages.find((tag) => tag === language || tag.startsWith(`${language}-`)) ?? language;

// Making a format is slow, and a list has one instant in each row.
const relativeFormats = new Map<string, Intl.RelativeTimeFormat>();
const exactFormats = new Map<string, Intl.DateTimeFormat>();

function formatBy<Format>(formats: Map<string, Format>, key: string, make: () => Format): Format {
  let format = formats.get(key);
  if (format === undefined) {
    format = make();
    formats.set(key, format);
  }
  return format;
}

export function formatRelative(instant: string, language: string, now = Date.now()): string {
  const seconds = (Date.parse(instant) - now) / 1000;
  const [unit, size] = UNITS.find(([, unitSize]) => Math.abs(seconds) >= unitSize) ?? (['second', 1] as const);
  const format = formatBy(relativeFormats, language, () => new Intl.RelativeTimeFormat(language, { numeric: 'auto' }));
  return format.format(Math.trunc(seconds / size), unit);
}

/** The exact instant, with the name of its time zone. */
export function useExactTime() {
  const { i18n } = useTranslation();
  const { zone } = usePreferences();
  const { language } = i18n;
  return useCallback(
    (instant: string | Date) => {
      const format = formatBy(
        exactFormats,
        `${language} ${zone}`,
        () =>
          new Intl.DateTimeFormat(regionOf(language), {
            year: 'numeric',
            month: 'short',
            day: 'numeric',
            hour: '2-digit',
            minute: '2-digit',
            second: '2-digit',
            timeZone: zone === 'utc' ? 'UTC' : undefined,
            timeZoneName: 'short',
          }),
      );
      return format.format(typeof instant === 'string' ? new Date(instant) : instant);
    },
    [language, zone],
  );
}

const ticks = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

/** Draws again every ten seconds. One timer serves all instants of the page. */
function useTick() {
  const [, setTick] = useState(0);
  useEffect(() => {
    const tick = () => setTick((count) => count + 1);
    ticks.add(tick);
    timer ??= setInterval(() => ticks.forEach((each) => each()), 10_000);
    return () => {
      ticks.delete(tick);
      if (ticks.size === 0 && timer !== undefined) {
        clearInterval(timer);
        timer = undefined;
      }
    };
  }, []);
}

export function Time({ at, exact = false }: { at: string; exact?: boolean }) {
  useTick();
  const { i18n } = useTranslation();
  const formatExact = useExactTime();
  const text = formatExact(at);
  return (
    <time dateTime={at} title={text}>
      {exact ? text : <span className="screen-only">{formatRelative(at, i18n.language)}</span>}
      {!exact && <span className="print-only">{text}</span>}
    </time>
  );
}
