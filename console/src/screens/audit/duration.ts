import { useTranslation } from 'react-i18next';

/** Writes a length of time in the largest unit that it fills. */
export function useDuration() {
  const { i18n } = useTranslation();
  return (milliseconds: number): string => {
    if (!Number.isFinite(milliseconds)) return '∞';
    const [value, unit] =
      milliseconds < 1_000
        ? ([milliseconds, 'millisecond'] as const)
        : milliseconds < 60_000
          ? ([milliseconds / 1_000, 'second'] as const)
          : milliseconds < 3_600_000
            ? ([milliseconds / 60_000, 'minute'] as const)
            : ([milliseconds / 3_600_000, 'hour'] as const);
    return new Intl.NumberFormat(i18n.language, { style: 'unit', unit, unitDisplay: 'short', maximumFractionDigits: value < 10 ? 1 : 0 }).format(value);
  };
}
