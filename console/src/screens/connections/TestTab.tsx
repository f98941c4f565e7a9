// Does it work? What the server sees, and a test that calls from outside.
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { useAction } from '../../app/useAction.ts';
import { Button } from '../../components/Button.tsx';
import { Card } from '../../components/Page.tsx';
import { Banner, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { useDiagnosisText, useRequestAdvice, useRequestMeaning } from '../../components/useServerText.ts';
import type { AssertionProtocol, AssertionSourceFieldsFragment, AssertionSourceProbe, PullSourceProbe, ScimSelfTestCode } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import type { OneConnection } from './connection.ts';
import { StepList, useNumbers } from './parts.tsx';
import { StepTestCard } from './StepTestCard.tsx';

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
          recentFailures { meaning count lastAt code field nextStep nextStepParts { code values } }
        }
      }
    }
  }
`);

const selfTestMutation = graphql(`
  mutation ScimSelfTest($input: ScimSelfTestInput!) {
    scimSelfTest(input: $input) {
      ok
      steps { code ok message messageParts { code values } nextStep nextStepParts { code values } }
      userErrors { code reason message nextStep }
    }
  }
`);

const pullTestMutation = graphql(`
  mutation PullSourceTest($input: PullSourceTestInput!) {
    pullSourceTest(input: $input) {
      ok
      steps { probe ok message messageParts { code values } nextStep nextStepParts { code values } }
      userErrors { code reason message nextStep }
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
  'EVENTS_DISCOVERED',
];
const SIGN_IN_TESTS: Record<AssertionProtocol, readonly AssertionSourceProbe[]> = {
  OIDC: ['DISCOVERY', 'KEYS', 'GRAPH'],
  SAML: ['METADATA', 'CERTIFICATES', 'SIGN_IN_ADDRESS', 'SERVICE_METADATA', 'GRAPH'],
};
const PULL_TEST: readonly PullSourceProbe[] = ['TOKEN', 'REACHED', 'USERS', 'GROUPS'];

const signInTestMutation = graphql(`
  mutation AssertionSourceTest($input: AssertionSourceTestInput!) {
    assertionSourceTest(input: $input) {
      ok
      steps { probe ok message messageParts { code values } nextStep nextStepParts { code values } }
      userErrors { code reason message nextStep }
    }
  }
`);

export function TestTab({ connection }: { connection: OneConnection }) {
  return (
    <div className="columns">
      <DiagnosisCard connection={connection} />
      {connection.kind === 'SCIM_PUSH' && <SelfTestCard connection={connection} />}
      {connection.kind === 'SCIM_PULL' && <PullTestCard connection={connection} />}
      {connection.assertionSource && <SignInTestCard connection={connection} source={connection.assertionSource} />}
    </div>
  );
}

function DiagnosisCard({ connection }: { connection: OneConnection }) {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const numbers = useNumbers();
  const say = useDiagnosisText();
  const [{ data, error, fetching }, ask] = useQuery({
    query: diagnosisQuery,
    variables: { id: connection.id },
    requestPolicy: 'network-only',
  });
  const diagnosis = data?.organization?.connection?.diagnosis;
  const meaning = useRequestMeaning();
  const advise = useRequestAdvice();
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
            steps={diagnosis.steps.map((step) => ({ ok: step.ok, ...say(step), key: step.check, title: t(`check.${step.check}`) }))}
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
                    <strong>{meaning(failure.meaning)}</strong>{' '}
                    {t('test.times', { count: failure.count, shown: numbers.whole(failure.count) })}{' '}
                    <span className="muted">
                      <Time at={failure.lastAt} />
                    </span>
                    {failure.nextStep && <p>{advise(failure)}</p>}
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
  const { run, running } = useAction(selfTestMutation);
  return (
    <StepTestCard
      title={t('test.self')}
      text={t('test.selfText')}
      well={t('test.selfWell')}
      steps={SELF_TEST.map((code) => ({ key: code, title: t(`selfTest.${code}`) }))}
      running={running}
      onTest={async () => {
        const { payload, problem } = await run({ input: { connectionId: connection.id } });
        if (problem) return { problem };
        return { done: (payload.steps ?? []).map(({ code, ...step }) => ({ key: code, ...step })) };
      }}
    />
  );
}

function PullTestCard({ connection }: { connection: OneConnection }) {
  const { t } = useTranslation('connections');
  const { run, running } = useAction(pullTestMutation);
  const probes = connection.pull?.auth === 'CLIENT_CREDENTIALS' ? PULL_TEST : PULL_TEST.slice(1);
  return (
    <StepTestCard
      title={t('test.pull')}
      text={t('test.pullText')}
      well={t('test.pullWell')}
      steps={probes.map((probe) => ({ key: probe, title: t(`probe.${probe}`) }))}
      running={running}
      onTest={async () => {
        const { payload, problem } = await run({ input: { connectionId: connection.id } });
        if (problem) return { problem };
        return { done: (payload.steps ?? []).map(({ probe, ...step }) => ({ key: probe, ...step })) };
      }}
    />
  );
}

function SignInTestCard({ connection, source }: { connection: OneConnection; source: AssertionSourceFieldsFragment }) {
  const { t } = useTranslation('connections');
  const { run, running } = useAction(signInTestMutation);
  const asksGraph = (source.oidc?.graph ?? source.saml?.graph) != null;
  const probes = SIGN_IN_TESTS[source.protocol].filter((probe) => probe !== 'GRAPH' || asksGraph);
  return (
    <StepTestCard
      title={t('test.signIn')}
      text={t(`test.signInTextOf.${source.protocol}`)}
      well={t('test.signInWell')}
      steps={probes.map((probe) => ({ key: probe, title: t(`signInProbe.${probe}`) }))}
      running={running}
      onTest={async () => {
        const { payload, problem } = await run({ input: { connectionId: connection.id } });
        if (problem) return { problem };
        return { done: (payload.steps ?? []).map(({ probe, ...step }) => ({ key: probe, ...step })) };
      }}
    />
  );
}
