// Small pieces that several parts of the screen of connections use.
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { Icon } from '../../components/Icon.tsx';
import { StatusBadge, type Tone } from '../../components/StatusBadge.tsx';
import type { ConnectionHealthState, ConnectionState, Provider } from '../../generated/graphql.ts';
import './connections.css';

export const PROVIDERS: readonly Provider[] = [
  'ENTRA_ID',
  'OKTA',
  'GOOGLE_WORKSPACE',
  'ONELOGIN',
  'JUMPCLOUD',
  'PINGONE',
  'KEYCLOAK',
  'ZITADEL',
  'AUTH0',
  'GENERIC',
];

const HEALTH_TONES: Record<ConnectionHealthState, Tone> = {
  HEALTHY: 'good',
  DEGRADED: 'warning',
  STALLED: 'warning',
  QUARANTINED: 'bad',
  INACTIVE: 'quiet',
};

export function HealthBadge({ state }: { state: ConnectionHealthState }) {
  const { t } = useTranslation();
  return <StatusBadge tone={HEALTH_TONES[state]}>{t(`health.${state}`)}</StatusBadge>;
}

export function StateBadge({ state }: { state: ConnectionState }) {
  const { t } = useTranslation();
  return <StatusBadge tone={state === 'ACTIVE' ? 'good' : 'quiet'}>{t(`connectionState.${state}`)}</StatusBadge>;
}

/** Numbers as the language writes them. */
export function useNumbers() {
  const { i18n } = useTranslation();
  const whole = new Intl.NumberFormat(i18n.language);
  const percent = new Intl.NumberFormat(i18n.language, { style: 'percent', maximumFractionDigits: 1 });
  return { whole: (value: number) => whole.format(value), percent: (share: number) => percent.format(share) };
}

export interface CheckedStep {
  key: string;
  title: string;
  /** Undefined: it was not tried. */
  ok: boolean | undefined;
  message?: string | undefined;
  nextStep?: string | null | undefined;
}

/** The steps of a test, those that were not tried too. */
export function StepList({ steps, running = false }: { steps: readonly CheckedStep[]; running?: boolean }) {
  const { t } = useTranslation('connections');
  return (
    <ol className="steps">
      {steps.map((step) => (
        <li key={step.key} className={step.ok === undefined ? 'step' : step.ok ? 'step step-ok' : 'step step-failed'}>
          {running ? (
            <Icon name="spinner" spin />
          ) : (
            <Icon name={step.ok === undefined ? 'clock' : step.ok ? 'check' : 'alert'} />
          )}
          <div>
            <p>
              <strong>{step.title}</strong>{' '}
              <span className="muted">
                {running
                  ? t('test.running')
                  : step.ok === undefined
                    ? t('test.notTried')
                    : step.ok
                      ? t('test.passed')
                      : t('test.failed')}
              </span>
            </p>
            {step.message && <p>{step.message}</p>}
            {step.nextStep && (
              <p className="next-step">
                <Icon name="arrowRight" /> {step.nextStep}
              </p>
            )}
          </div>
        </li>
      ))}
    </ol>
  );
}

/** Names and values, one below the other. */
export const Details = ({ rows }: { rows: readonly (readonly [string, ReactNode] | false | null | undefined)[] }) => (
  <dl className="details">
    {rows.map(
      (row) =>
        row && (
          <div key={row[0]} className="detail">
            <dt>{row[0]}</dt>
            <dd>{row[1]}</dd>
          </div>
        ),
    )}
  </dl>
);

/** A fingerprint as tools write it: pairs of digits. */
export const Fingerprint = ({ value }: { value: string }) => (
  <code dir="ltr" className="fingerprint">
    {value.replaceAll(/(..)(?=.)/g, '$1:').toUpperCase()}
  </code>
);
