// Does it work? What the server sees, and a test that calls from outside.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { Card } from '../../components/Page.tsx';
import { Banner, ErrorPanel, type Problem, Skeleton, toProblem } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import type { PullSourceProbe, ScimSelfTestCode } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import type { OneConnection } from './connection.ts';
import { StepList, useNumbers } from './parts.tsx';

const diagnosisQuery = graphql(`
  query ConnectionDiagnosis($id: ID!) {
    organization {
      id
      connection(id: $id) {
        id
        diagnosis {
          ok
          steps { check ok message nextStep }
          tokenExpiresAt
          recentFailures { meaning count lastAt code field nextStep }
        }
      }
    }
  }
`);

const selfTestMutation = graphql(`
  mutation ScimSelfTest($input: ScimSelfTestInput!) {
    scimSelfTest(input: $input) {
      ok
      steps { code ok message nextStep }
      userErrors { code message nextStep }
    }
  }
`);

const pullTestMutation = graphql(`
  mutation PullSourceTest($input: PullSourceTestInput!) {
    pullSourceTest(input: $input) {
      ok
      steps { probe ok message nextStep }
      userErrors { code message nextStep }
    }
  }
`);

const SELF_TEST: readonly ScimSelfTestCode[] = [
  'NAME_RESOLVED',
  'PORT_REACHED',
  'ANSWERED',
  'AUTHORIZATION_ARRIVED',
  'CONFIGURATION_READ',
  'USERS_LISTED',
  'GROUPS_LISTED',
  'FALSE_TOKEN_REFUSED',
];
const PULL_TEST: readonly PullSourceProbe[] = ['TOKEN', 'REACHED', 'USERS', 'GROUPS'];

export function TestTab({ connection }: { connection: OneConnection }) {
  return (
    <div className="columns">
      <DiagnosisCard connection={connection} />
      {connection.kind === 'SCIM_PULL' ? <PullTestCard connection={connection} /> : <SelfTestCard connection={connection} />}
    </div>
  );
}

function DiagnosisCard({ connection }: { connection: OneConnection }) {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const numbers = useNumbers();
  const [{ data, error, fetching }, ask] = useQuery({
    query: diagnosisQuery,
    variables: { id: connection.id },
    requestPolicy: 'network-only',
  });
  const diagnosis = data?.organization?.connection?.diagnosis;
  const reload = () => ask({ requestPolicy: 'network-only' });
  return (
    <Card
      title={t('test.diagnosis')}
      actions={
        <Button icon="reload" busy={fetching} onPress={reload}>
          {common('state.reload')}
        </Button>
      }
    >
      <p className="muted">{t('test.diagnosisText')}</p>
      {error && <ErrorPanel problem={toProblem(error)} onRetry={reload} />}
      {!diagnosis && !error && <Skeleton lines={6} />}
      {diagnosis && (
        <>
          <Banner kind={diagnosis.ok ? 'success' : 'warning'} title={diagnosis.ok ? t('test.allWell') : t('test.notWell')} />
          <StepList
            steps={diagnosis.steps.map((step) => ({ ...step, key: step.check, title: t(`check.${step.check}`) }))}
          />
          {diagnosis.tokenExpiresAt && (
            <p>
              {t('test.tokenEnds')} <Time at={diagnosis.tokenExpiresAt} />
            </p>
          )}
          {diagnosis.recentFailures.length > 0 && (
            <>
              <h3>{t('test.recent')}</h3>
              <ul className="plain">
                {diagnosis.recentFailures.map((failure) => (
                  <li key={`${failure.meaning} ${failure.code} ${failure.lastAt}`}>
                    <strong>{failure.meaning}</strong>{' '}
                    {t('test.times', { count: failure.count, shown: numbers.whole(failure.count) })}{' '}
                    <span className="muted">
                      <Time at={failure.lastAt} />
                    </span>
                    {failure.nextStep && <p>{failure.nextStep}</p>}
                  </li>
                ))}
              </ul>
            </>
          )}
        </>
      )}
    </Card>
  );
}

function SelfTestCard({ connection }: { connection: OneConnection }) {
  const { t } = useTranslation('connections');
  const viewer = useViewer();
  const { run, running } = useAction(selfTestMutation);
  const [steps, setSteps] = useState<readonly { code: ScimSelfTestCode; ok: boolean; message: string; nextStep?: string | null }[]>();
  const [problem, setProblem] = useState<Problem>();
  const test = async () => {
    setProblem(undefined);
    setSteps(undefined);
    const answer = await run({ input: { connectionId: connection.id } });
    if (answer.problem) setProblem(answer.problem);
    else setSteps(answer.payload.steps ?? []);
  };
  return (
    <Card title={t('test.self')}>
      <p>{t('test.selfText')}</p>
      {viewer.may('IAM_WRITE') ? (
        <div className="actions">
          <Button kind="primary" icon="sync" busy={running} onPress={() => void test()}>
            {steps ? t('test.again') : t('test.start')}
          </Button>
        </div>
      ) : (
        <p className="muted">{t('test.needsWrite')}</p>
      )}
      {problem && <ErrorPanel problem={problem} />}
      <div role="status">
        {steps && (
          <Banner
            kind={steps.every((step) => step.ok) ? 'success' : 'warning'}
            title={steps.every((step) => step.ok) ? t('test.selfWell') : t('test.notWell')}
          />
        )}
      </div>
      <StepList
        running={running}
        steps={SELF_TEST.map((code) => {
          const done = steps?.find((step) => step.code === code);
          return { key: code, title: t(`selfTest.${code}`), ok: done?.ok, message: done?.message, nextStep: done?.nextStep };
        })}
      />
    </Card>
  );
}

function PullTestCard({ connection }: { connection: OneConnection }) {
  const { t } = useTranslation('connections');
  const viewer = useViewer();
  const { run, running } = useAction(pullTestMutation);
  const [steps, setSteps] = useState<readonly { probe: PullSourceProbe; ok: boolean; message: string; nextStep?: string | null }[]>();
  const [problem, setProblem] = useState<Problem>();
  const test = async () => {
    setProblem(undefined);
    setSteps(undefined);
    const answer = await run({ input: { connectionId: connection.id } });
    if (answer.problem) setProblem(answer.problem);
    else setSteps(answer.payload.steps ?? []);
  };
  const probes = connection.pull?.auth === 'CLIENT_CREDENTIALS' ? PULL_TEST : PULL_TEST.slice(1);
  return (
    <Card title={t('test.pull')}>
      <p>{t('test.pullText')}</p>
      {viewer.may('IAM_WRITE') ? (
        <div className="actions">
          <Button kind="primary" icon="sync" busy={running} onPress={() => void test()}>
            {steps ? t('test.again') : t('test.start')}
          </Button>
        </div>
      ) : (
        <p className="muted">{t('test.needsWrite')}</p>
      )}
      {problem && <ErrorPanel problem={problem} />}
      <div role="status">
        {steps && (
          <Banner
            kind={steps.every((step) => step.ok) ? 'success' : 'warning'}
            title={steps.every((step) => step.ok) ? t('test.pullWell') : t('test.notWell')}
          />
        )}
      </div>
      <StepList
        running={running}
        steps={probes.map((probe) => {
          const done = steps?.find((step) => step.probe === probe);
          return { key: probe, title: t(`probe.${probe}`), ok: done?.ok, message: done?.message, nextStep: done?.nextStep };
        })}
      />
    </Card>
  );
}
