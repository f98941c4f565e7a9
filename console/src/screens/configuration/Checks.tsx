// Whether it works: what this server knows, and a call of its own public address.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useClient } from 'urql';
import { PermissionGate } from '../../app/viewer.tsx';
import { useAction } from '../../app/useAction.ts';
import { Button } from '../../components/Button.tsx';
import { Icon } from '../../components/Icon.tsx';
import { Card } from '../../components/Page.tsx';
import { Time } from '../../components/Time.tsx';
import { ErrorPanel, type Problem, toProblem } from '../../components/states.tsx';
import { useDiagnosisText, useMessageText, useRequestAdvice, useRequestMeaning } from '../../components/useServerText.ts';
import type { ConfigurationDiagnosisQuery } from '../../generated/graphql.ts';
import type { Connection } from './ConfigurationScreen.tsx';
import { diagnosisQuery, selfTestMutation } from './queries.ts';

interface Step {
  name: string;
  ok: boolean;
  message: string | undefined;
  nextStep?: string | null | undefined;
}

type Diagnosis = NonNullable<NonNullable<NonNullable<ConfigurationDiagnosisQuery['organization']>['connection']>['diagnosis']>;

export function Checks({ connection }: { connection: Connection }) {
  const { t } = useTranslation('configuration');
  const client = useClient();
  const say = useDiagnosisText();
  const [steps, setSteps] = useState<readonly Step[]>();
  const [failures, setFailures] = useState<Diagnosis['recentFailures']>([]);
  const [problem, setProblem] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const selfTest = useAction(selfTestMutation);
  const meaning = useRequestMeaning();
  const advise = useRequestAdvice();
  const sayMessage = useMessageText();

  const diagnose = async () => {
    setBusy(true);
    const { data, error } = await client.query(diagnosisQuery, { id: connection.id }, { requestPolicy: 'network-only' }).toPromise();
    setBusy(false);
    const diagnosis = data?.organization?.connection?.diagnosis;
    setProblem(error ? toProblem(error) : undefined);
    setSteps(diagnosis?.steps.map((step) => ({ ok: step.ok, ...say(step), name: t(`check.${step.check}`) })));
    setFailures(diagnosis?.recentFailures ?? []);
  };
  const callAddress = async () => {
    const { payload, problem: refused } = await selfTest.run({ input: { connectionId: connection.id } });
    setProblem(refused);
    setSteps(
      payload?.steps?.map(({ code, ok, message, messageParts, nextStep, nextStepParts }) => ({
        name: t(`selfTest.${code}`),
        ok,
        message: sayMessage(message, messageParts),
        nextStep: nextStep && sayMessage(nextStep, nextStepParts),
      })),
    );
    setFailures([]);
  };
  return (
    <Card
      title={t('checks.title')}
      id="checks"
      actions={
        <>
          <Button icon="check" busy={busy} onPress={() => void diagnose()}>
            {t('checks.diagnose')}
          </Button>
          <PermissionGate needs={['IAM_WRITE']}>
            <Button icon="globe" busy={selfTest.running} onPress={() => void callAddress()}>
              {t('checks.selfTest')}
            </Button>
          </PermissionGate>
        </>
      }
    >
      <p className="muted">{t('checks.explained')}</p>
      {problem && <ErrorPanel problem={problem} />}
      <div aria-live="polite">
        {steps && (
          <ul className="arrivals">
            {steps.map((step) => (
              <li key={step.name} className={step.ok ? 'arrived' : 'failed'}>
                <Icon name={step.ok ? 'check' : 'alert'} />
                <div>
                  <strong>{step.name}</strong> {step.ok ? t('checks.ok') : t('checks.failed')}
                  {step.message && <p className="muted">{step.message}</p>}
                  {step.nextStep && <p>{step.nextStep}</p>}
                </div>
              </li>
            ))}
          </ul>
        )}
        {failures.map((failure) => (
          <p key={failure.meaning}>
            {meaning(failure.meaning)} ({failure.count}, <Time at={failure.lastAt} />) {advise(failure)}
          </p>
        ))}
      </div>
    </Card>
  );
}
