// The request log: what the identity provider wanted, what came of it, and how it departs from the protocol.
import { useTranslation } from 'react-i18next';
import { useSearchParams } from 'wouter';
import { oneOf } from '../../app/address.ts';
import { Button } from '../../components/Button.tsx';
import { type Column, DataTable, TableFoot } from '../../components/DataTable.tsx';
import { FilterBar, FilterChoice, FilterReset } from '../../components/FilterBar.tsx';
import { Card } from '../../components/Page.tsx';
import { StatusBadge, type Tone } from '../../components/StatusBadge.tsx';
import { usePagedList } from '../../components/paging.ts';
import { EmptyState, ErrorPanel, Skeleton } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import type { RequestLogQuery, RequestOutcome } from '../../generated/graphql.ts';
import { useRequestAdvice, useRequestMeaning } from '../../components/useServerText.ts';
import { graphql } from '../../generated/index.ts';
import type { OneConnection } from './connection.ts';
import { useNumbers } from './parts.tsx';

const requestLogQuery = graphql(`
  query RequestLog($filter: RequestLogEntryFilter, $after: String) {
    organization {
      id
      requestLog(first: 25, after: $after, filter: $filter) {
        pageInfo { hasNextPage endCursor }
        nodes {
          hour
          method
          resource
          meaning
          outcome
          httpStatus
          scimType
          code
          field
          nextStep
          nextStepParts { code values }
          quirks
          source
          count
          firstAt
          lastAt
          lastRequestId
          connection { id }
        }
      }
    }
  }
`);

type Row = NonNullable<NonNullable<RequestLogQuery['organization']>['requestLog']>['nodes'][number];

const OUTCOMES: readonly RequestOutcome[] = [
  'CREATED',
  'UPDATED',
  'UNCHANGED',
  'DELETED',
  'ANSWERED',
  'CARRIED_OUT',
  'NOT_FOUND',
  'REFUSED',
  'FAILED',
  'VARIOUS',
];

const QUIRKS = [
  'OP_IN_CAPITALS',
  'BOOLEAN_AS_STRING',
  'PATH_AS_NAME',
  'REMOVE_WITH_VALUE',
  'MANAGER_NOT_OBJECT',
  'MEMBER_NOT_OBJECT',
  'NO_SCHEMAS',
  'NULL',
  'PLAIN_JSON',
  'READ_ONLY_ATTRIBUTE',
  'UNKNOWN_ATTRIBUTE',
  'EMPTY_OPERATIONS',
  'JSON_TEXT',
  'LIST_OF_ONE',
  'PLAIN_VALUE_AS_OBJECT',
  'BYTE_ORDER_MARK',
  'UNQUOTED_VALUE',
] as const;

const tone = (outcome: RequestOutcome): Tone =>
  outcome === 'REFUSED' || outcome === 'FAILED' ? 'bad' : outcome === 'NOT_FOUND' ? 'warning' : 'good';

const pick = (data: RequestLogQuery) => data.organization?.requestLog;

export function RequestsTab({ connection }: { connection: OneConnection }) {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const numbers = useNumbers();
  const meaning = useRequestMeaning();
  const advise = useRequestAdvice();
  const [params] = useSearchParams();
  const outcome = oneOf(OUTCOMES, params.get('outcome') ?? undefined);
  const troublesOnly = params.get('only') === 'troubles';
  const list = usePagedList(
    requestLogQuery,
    { filter: { connectionId: connection.id, troublesOnly, ...(outcome && { outcome }) } },
    pick,
  );
  const columns: Column<Row>[] = [
    { key: 'last', title: t('log.last'), cell: (row) => <Time at={row.lastAt} /> },
    {
      key: 'meaning',
      title: t('log.meaning'),
      header: true,
      cell: (row) => (
        <>
          {meaning(row.meaning)}
          {row.method && (
            <>
              <br />
              <small className="muted">
                <code>
                  {row.method} {row.resource}
                </code>
              </small>
            </>
          )}
          {!row.connection && (
            <>
              <br />
              <small className="muted">
                {t('log.withoutToken')} {row.source}
              </small>
            </>
          )}
        </>
      ),
    },
    {
      key: 'outcome',
      title: t('log.outcome'),
      cell: (row) => (
        <>
          <StatusBadge tone={tone(row.outcome)}>{t(`outcome.${row.outcome}`)}</StatusBadge>
          {row.httpStatus != null && <small className="muted"> {row.httpStatus}</small>}
        </>
      ),
    },
    { key: 'count', title: t('log.count'), numeric: true, cell: (row) => numbers.whole(row.count) },
    {
      key: 'why',
      title: t('log.why'),
      cell: (row) => (
        <>
          {(row.code || row.field) && (
            <p>
              {row.code && <code>{row.code}</code>} {row.field && <code>{row.field}</code>}
            </p>
          )}
          {row.nextStep && <p>{advise(row)}</p>}
          {row.lastRequestId && row.code && (
            <p className="muted">
              <small>
                {common('problem.requestId')} <code>{row.lastRequestId}</code>
              </small>
            </p>
          )}
        </>
      ),
    },
    {
      key: 'quirks',
      title: t('log.quirks'),
      cell: (row) =>
        row.quirks.length > 0 && (
          <ul className="plain quirks">
            {row.quirks.map((code) => {
              const known = QUIRKS.find((name) => name === code);
              return (
                <li key={code}>
                  {known ? t(`quirk.${known}`) : code}
                  <br />
                  <small className="muted">
                    <code>{code}</code>
                  </small>
                </li>
              );
            })}
          </ul>
        ),
    },
  ];
  return (
    <Card
      title={t('log.title')}
      actions={
        <Button icon="reload" onPress={list.reload}>
          {common('state.reload')}
        </Button>
      }
    >
      <p className="muted">{t('log.text')}</p>
      <FilterBar label={t('log.filters')}>
        <FilterChoice name="only" label={t('log.only')} choices={[{ value: 'troubles', text: t('log.troubles') }]} />
        <FilterChoice
          name="outcome"
          label={t('log.outcome')}
          choices={OUTCOMES.map((value) => ({ value, text: t(`outcome.${value}`) }))}
        />
        <FilterReset names={['only', 'outcome']} />
      </FilterBar>
      {list.problem && <ErrorPanel problem={list.problem} onRetry={list.reload} />}
      {list.loading && list.rows.length === 0 && <Skeleton lines={6} />}
      {!list.loading && !list.problem && list.rows.length === 0 && (
        <EmptyState icon="clock" title={t('log.none')}>
          <p>{t('log.noneText')}</p>
        </EmptyState>
      )}
      {list.rows.length > 0 && (
        <>
          <DataTable
            label={common('table.rows', { label: t('log.title') })}
            columns={columns}
            rows={list.rows}
            rowKey={(row) =>
              [row.hour, row.meaning, row.outcome, row.code, row.field, row.quirks.join(), row.firstAt, row.source].join(' ')
            }
          />
          <TableFoot shown={list.rows.length} loading={list.loading} onMore={list.hasMore ? list.loadMore : undefined} />
        </>
      )}
    </Card>
  );
}
