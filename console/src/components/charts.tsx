// The few charts. Each has its numbers as a table too, for screen readers and for print.
import { type ReactNode, lazy, Suspense } from 'react';
import { useTranslation } from 'react-i18next';
import { Skeleton } from './states.tsx';

const Plot = lazy(() => import('./Plot.tsx'));

/** A line without axes; `label` says what it shows. */
export function Sparkline({ values, label }: { values: readonly number[]; label: string }) {
  const top = Math.max(...values, 1);
  const step = values.length > 1 ? 100 / (values.length - 1) : 0;
  const points = values.map((value, index) => `${(index * step).toFixed(1)},${(23 - (value / top) * 22).toFixed(1)}`);
  return (
    <svg className="sparkline" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label={label}>
      <polyline points={points.join(' ')} />
    </svg>
  );
}

export interface ChartProps {
  label: string;
  kind: 'line' | 'bars';
  /** Instants in milliseconds, or numbers. */
  x: readonly number[];
  xIsTime: boolean;
  series: readonly { label: string; values: readonly (number | null)[] }[];
  /** A vertical line, for example an objective. */
  mark?: { x: number; label: string };
  formatX: (x: number) => string;
  formatY?: (y: number) => string;
}

export function Chart(props: ChartProps) {
  const { t } = useTranslation();
  const formatY = props.formatY ?? String;
  return (
    <figure className="chart">
      <figcaption>{props.label}</figcaption>
      <Suspense fallback={<Skeleton lines={4} />}>
        <Plot {...props} />
      </Suspense>
      <details>
        <summary>{t('chart.numbers')}</summary>
        <table className="table">
          <thead>
            <tr>
              <th scope="col">{t('chart.at')}</th>
              {props.series.map(({ label }) => (
                <th key={label} scope="col" className="numeric">
                  {label}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {props.x.map((x, row) => (
              <tr key={x}>
                <th scope="row">{props.formatX(x)}</th>
                {props.series.map(({ label, values }) => (
                  <td key={label} className="numeric">
                    {cell(values[row], formatY)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </figure>
  );
}

const cell = (value: number | null | undefined, format: (y: number) => string): ReactNode => (value == null ? '–' : format(value));
