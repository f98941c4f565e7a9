// A test that goes step by step: started by a button, and each step says how it went.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { Card } from '../../components/Page.tsx';
import { Banner, ErrorPanel, type Problem } from '../../components/states.tsx';
import { type MessagePart, useMessageText } from '../../components/useServerText.ts';
import { StepList } from './parts.tsx';

interface DoneStep {
  key: string;
  ok: boolean;
  message: string;
  messageParts: readonly MessagePart[];
  nextStep?: string | null;
  nextStepParts: readonly MessagePart[];
}

interface StepTestCardProps {
  title: string;
  text: string;
  /** What is said when every step went well. */
  well: string;
  steps: readonly { key: string; title: string }[];
  running: boolean;
  onTest: () => Promise<{ done: readonly DoneStep[]; problem?: undefined } | { done?: undefined; problem: Problem }>;
}

export function StepTestCard({ title, text, well, steps, running, onTest }: StepTestCardProps) {
  const { t } = useTranslation('connections');
  const viewer = useViewer();
  const say = useMessageText();
  const [done, setDone] = useState<readonly DoneStep[]>();
  const [problem, setProblem] = useState<Problem>();
  const test = async () => {
    setProblem(undefined);
    setDone(undefined);
    const answer = await onTest();
    setProblem(answer.problem);
    setDone(answer.done);
  };
  const allWell = done?.every((step) => step.ok) ?? false;
  return (
    <Card title={title}>
      <p>{text}</p>
      {viewer.may('IAM_WRITE') ? (
        <div className="actions">
          <Button kind="primary" icon="sync" busy={running} onPress={() => void test()}>
            {done ? t('test.again') : t('test.start')}
          </Button>
        </div>
      ) : (
        <p className="muted">{t('test.needsWrite')}</p>
      )}
      {problem && <ErrorPanel problem={problem} />}
      <div role="status">{done && <Banner kind={allWell ? 'success' : 'warning'} title={allWell ? well : t('test.notWell')} />}</div>
      <StepList
        running={running}
        steps={steps.map((step) => {
          const found = done?.find(({ key }) => key === step.key);
          return {
            ...step,
            ok: found?.ok,
            message: found && say(found.message, found.messageParts),
            nextStep: found?.nextStep && say(found.nextStep, found.nextStepParts),
          };
        })}
      />
    </Card>
  );
}
