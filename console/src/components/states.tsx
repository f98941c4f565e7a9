// What a screen shows instead of data: while it loads, when there is none, and when something went wrong.
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import type { CombinedError } from 'urql';
import type { Permission } from '../generated/graphql.ts';
import { Button } from './Button.tsx';
import { Icon, type IconName } from './Icon.tsx';
import { quoteWords } from './mistakes.ts';

export function Skeleton({ lines = 3 }: { lines?: number }) {
  const { t } = useTranslation();
  return (
    <div className="skeleton" role="status">
      <span className="visually-hidden">{t('state.loading')}</span>
      {Array.from({ length: lines }, (_, index) => (
        <span key={index} className="skeleton-line" aria-hidden="true" />
      ))}
    </div>
  );
}

interface EmptyStateProps {
  icon?: IconName;
  title: string;
  /** What the thing is good for, and how the first one comes to be. */
  children?: ReactNode;
  actions?: ReactNode;
}

export function EmptyState({ icon = 'info', title, children, actions }: EmptyStateProps) {
  return (
    <div className="empty">
      <Icon name={icon} />
      <p className="empty-title">{title}</p>
      {children && <div className="empty-text">{children}</div>}
      {actions && <div className="actions">{actions}</div>}
    </div>
  );
}

export interface Problem {
  code: string;
  message: string;
  nextStep?: string | null | undefined;
  requestId?: string | undefined;
  permission?: string | undefined;
}

/** What a failed request said. */
export function toProblem(error: CombinedError): Problem {
  const response = error.response as Response | undefined;
  const first = error.graphQLErrors[0];
  const extension = (name: string) => {
    const value = first?.extensions?.[name];
    return typeof value === 'string' ? value : undefined;
  };
  return {
    code: extension('code') ?? (error.networkError ? 'NETWORK' : 'INTERNAL'),
    ...quoteWords(first?.message ?? '', extension('nextStep')),
    requestId: extension('requestId') ?? response?.headers?.get('x-request-id') ?? undefined,
    permission: extension('permission'),
  };
}

const KNOWN_CODES = [
  'BAD_USER_INPUT',
  'BUSY',
  'CONFLICT',
  'FORBIDDEN',
  'HELD',
  'INTERNAL',
  'LINK_ENDED',
  'LINK_OF_OTHER_BROWSER',
  'LINK_UNKNOWN',
  'NETWORK',
  'NOT_FOUND',
  'OPERATION_NOT_ALLOWED',
  'OUTCOME_UNKNOWN',
  'OUTDATED',
  'QUERY_TOO_COMPLEX',
  'RATE_LIMITED',
  'SECRET_WITHHELD',
  'SESSION_ENDED',
  'SESSION_MISSING',
  'UNAUTHENTICATED',
  'UNAVAILABLE',
] as const;

/** The problem in words: what happened and what to do. */
export function useProblemText() {
  const { t } = useTranslation();
  return (problem: Problem) => {
    const known = KNOWN_CODES.find((code) => code === problem.code);
    return {
      title: known ? t(`problem.${known}.title`) : t('problem.other.title'),
      nextStep: problem.nextStep ?? (known ? t(`problem.${known}.next`) : t('problem.other.next')),
    };
  };
}

export function ErrorPanel({ problem, onRetry }: { problem: Problem; onRetry?: () => void }) {
  const { t } = useTranslation();
  const text = useProblemText()(problem);
  return (
    <div className="banner banner-error" role="alert">
      <Icon name="alert" />
      <div>
        <p className="banner-title">{text.title}</p>
        {problem.message && <p>{problem.message}</p>}
        <p>{text.nextStep}</p>
        <p className="muted">
          {t('problem.code')} <code>{problem.code}</code>
          {problem.requestId && (
            <>
              {' · '}
              {t('problem.requestId')} <code>{problem.requestId}</code>
            </>
          )}
        </p>
        {onRetry && (
          <Button icon="reload" onPress={onRetry}>
            {t('state.retry')}
          </Button>
        )}
      </div>
    </div>
  );
}

interface BannerProps {
  kind: 'info' | 'warning' | 'success';
  icon?: IconName;
  title: string;
  children?: ReactNode;
}

export function Banner({ kind, icon = kind === 'success' ? 'check' : kind === 'info' ? 'info' : 'alert', title, children }: BannerProps) {
  return (
    <div className={`banner banner-${kind}`}>
      <Icon name={icon} />
      <div>
        <p className="banner-title">{title}</p>
        {children}
      </div>
    </div>
  );
}

/** One full page; never a part of a screen. */
export function ForbiddenPage({ permissions, actions }: { permissions: readonly Permission[]; actions?: ReactNode }) {
  const { t } = useTranslation();
  return (
    <div className="full-page">
      <Icon name="lock" />
      <h1>{t('forbidden.title')}</h1>
      <p>{t('forbidden.text')}</p>
      <ul className="plain">
        {permissions.map((permission) => (
          <li key={permission}>
            <code>{permission}</code> <span>{t(`permission.${permission}`)}</span>
          </li>
        ))}
      </ul>
      <p>{t('forbidden.next')}</p>
      {actions && <div className="actions">{actions}</div>}
    </div>
  );
}
