// The rules of alerts, and who gets mail about them.
import { type FormEvent, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { type Column, DataTable } from '../../components/DataTable.tsx';
import { CheckField, TextField } from '../../components/forms.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { StatusBadge } from '../../components/StatusBadge.tsx';
import { Banner, EmptyState, ErrorPanel, type Problem, Skeleton, toProblem } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import type { AlertRulesQuery, AlertRuleSetInput } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { AlertTabs } from './AlertTabs.tsx';

const rulesQuery = graphql(`
  query AlertRules {
    organization {
      id
      mailEnabled
      alertRules { kind enabled byMail repeats threshold defaultThreshold thresholdUnit }
      mailRecipients { id address name createdAt lastMailedAt testPending failingSince lastError }
    }
  }
`);

const setMutation = graphql(`
  mutation AlertRuleSet($input: AlertRuleSetInput!) {
    alertRuleSet(input: $input) {
      alertRule { kind enabled byMail threshold }
      userErrors { code reason message nextStep }
    }
  }
`);

const addMutation = graphql(`
  mutation MailRecipientAdd($input: MailRecipientAddInput!) {
    mailRecipientAdd(input: $input) {
      mailRecipient { id address }
      userErrors { code reason message nextStep }
    }
  }
`);

const removeMutation = graphql(`
  mutation MailRecipientRemove($input: MailRecipientRemoveInput!) {
    mailRecipientRemove(input: $input) {
      removedMailRecipientId
      userErrors { code reason message nextStep }
    }
  }
`);

const testMutation = graphql(`
  mutation MailRecipientTest($input: MailRecipientTestInput!) {
    mailRecipientTest(input: $input) {
      mailRecipient { id testPending }
      userErrors { code reason message nextStep }
    }
  }
`);

type Settings = NonNullable<AlertRulesQuery['organization']>;
type Rule = NonNullable<Settings['alertRules']>[number];
type Recipient = NonNullable<Settings['mailRecipients']>[number];

export default function RulesScreen() {
  const { t } = useTranslation('alerts');
  const [{ data, error }, ask] = useQuery({ query: rulesQuery, requestPolicy: 'cache-and-network' });
  const reload = () => ask({ requestPolicy: 'network-only' });
  const settings = data?.organization;
  return (
    <Page title={t('tab.rules')} lead={t('rulesLead')}>
      <AlertTabs current="rules" />
      {error && <ErrorPanel problem={toProblem(error)} onRetry={reload} />}
      {!settings && !error && <Skeleton lines={8} />}
      {settings && (
        <>
          <Card title={t('rules')}>
            <ul className="plain entries">
              {(settings.alertRules ?? []).map((rule) => (
                <li key={rule.kind}>
                  <RuleEntry rule={rule} onChanged={reload} />
                </li>
              ))}
            </ul>
          </Card>
          <Recipients settings={settings} onChanged={reload} />
        </>
      )}
    </Page>
  );
}

function RuleEntry({ rule, onChanged }: { rule: Rule; onChanged: () => void }) {
  const { t } = useTranslation('alerts');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const mayWrite = viewer.may('IAM_WRITE');
  const { run, running } = useAction(setMutation);
  const [threshold, setThreshold] = useState(rule.threshold?.toString() ?? '');
  const [asking, setAsking] = useState(false);
  const [reason, setReason] = useState('');
  const set = async (changes: Omit<AlertRuleSetInput, 'kind'>): Promise<Problem | undefined> => {
    const { problem } = await run({ input: { kind: rule.kind, ...changes } });
    if (!problem) notify({ kind: 'success', text: t('saved', { rule: t(`kind.${rule.kind}`) }) });
    onChanged();
    return problem;
  };
  const tell = (problem: Problem | undefined) => {
    if (problem) notify({ kind: 'error', text: problem.message, ...(problem.nextStep && { detail: problem.nextStep }) });
  };
  const unit = rule.thresholdUnit ? t(`unit.${rule.thresholdUnit}`) : '';
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void set({ threshold: threshold.trim() === '' ? null : Number(threshold) }).then(tell);
  };
  return (
    <article className="entry">
      <div className="entry-head">
        <h3>{t(`kind.${rule.kind}`)}</h3>
        <StatusBadge tone={rule.enabled ? 'good' : 'quiet'}>{rule.enabled ? t('on') : t('off')}</StatusBadge>
      </div>
      <p className="muted">
        {t(`kindText.${rule.kind}`)} {rule.repeats && t('repeats')}
      </p>
      {mayWrite ? (
        <>
          <div className="actions">
            <CheckField
              label={t('watch')}
              checked={rule.enabled}
              disabled={running}
              onChange={(on) => (on ? void set({ enabled: true }).then(tell) : setAsking(true))}
            />
            <CheckField
              label={t('byMail')}
              checked={rule.byMail}
              disabled={running || !rule.enabled}
              onChange={(byMail) => void set({ byMail }).then(tell)}
            />
          </div>
          {rule.defaultThreshold != null && (
            <form className="filter-bar" onSubmit={submit}>
              <TextField
                label={t('threshold', { unit })}
                help={t('thresholdHelp', { value: rule.defaultThreshold })}
                type="number"
                min={1}
                value={threshold}
                onChange={setThreshold}
              />
              <Button type="submit" busy={running} isDisabled={threshold === (rule.threshold?.toString() ?? '')}>
                {t('save')}
              </Button>
            </form>
          )}
        </>
      ) : (
        rule.threshold != null && (
          <p>
            {t('threshold', { unit })}: {rule.threshold}
          </p>
        )
      )}
      <ConfirmDialog
        isOpen={asking}
        onClose={() => setAsking(false)}
        title={t('offTitle', { rule: t(`kind.${rule.kind}`) })}
        consequences={[t('offNothing'), t('offResolved')]}
        confirmLabel={t('turnOff')}
        danger
        onConfirm={() => set({ enabled: false, reason: reason.trim() || null })}
      >
        <TextField label={common('dialog.reason')} value={reason} onChange={setReason} maxLength={1000} />
      </ConfirmDialog>
    </article>
  );
}

function Recipients({ settings, onChanged }: { settings: Settings; onChanged: () => void }) {
  const { t } = useTranslation('alerts');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const mayWrite = viewer.may('IAM_WRITE');
  const [address, setAddress] = useState('');
  const [name, setName] = useState('');
  const [problem, setProblem] = useState<Problem>();
  const [removing, setRemoving] = useState<Recipient>();
  const { run: add, running: adding } = useAction(addMutation);
  const { run: remove } = useAction(removeMutation);
  const { run: test } = useAction(testMutation);
  const recipients = settings.mailRecipients ?? [];
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const answer = await add({ input: { address: address.trim(), name: name.trim() } });
    setProblem(answer.problem);
    if (answer.problem) return;
    setAddress('');
    setName('');
    onChanged();
  };
  const sendTest = async (recipient: Recipient) => {
    const answer = await test({ input: { id: recipient.id } });
    if (answer.problem) notify({ kind: 'error', text: answer.problem.message });
    else notify({ kind: 'success', text: t('tested', { address: recipient.address }) });
    onChanged();
  };
  const columns: Column<Recipient>[] = [
    {
      key: 'address',
      title: t('address'),
      header: true,
      cell: (recipient) => (
        <>
          {recipient.address}
          {recipient.name && (
            <>
              <br />
              <small className="muted">{recipient.name}</small>
            </>
          )}
        </>
      ),
    },
    {
      key: 'state',
      title: t('state'),
      cell: (recipient) =>
        recipient.failingSince ? (
          <>
            <StatusBadge tone="bad">{t('failing')}</StatusBadge> <Time at={recipient.failingSince} />
            {recipient.lastError && <p>{t('mailSaid', { text: recipient.lastError })}</p>}
          </>
        ) : recipient.testPending ? (
          t('testPending')
        ) : (
          <StatusBadge tone="good">{t('mailWorks')}</StatusBadge>
        ),
    },
    {
      key: 'mailed',
      title: t('lastMailed'),
      cell: (recipient) => (recipient.lastMailedAt ? <Time at={recipient.lastMailedAt} /> : common('state.never')),
    },
  ];
  if (mayWrite) {
    columns.push({
      key: 'actions',
      title: <span className="visually-hidden">{t('actions')}</span>,
      cell: (recipient) => (
        <div className="actions">
          <Button aria-label={t('testLabel', { address: recipient.address })} onPress={() => void sendTest(recipient)}>
            {t('test')}
          </Button>
          <Button
            kind="danger"
            aria-label={t('removeLabel', { address: recipient.address })}
            onPress={() => setRemoving(recipient)}
          >
            {t('remove')}
          </Button>
        </div>
      ),
    });
  }
  return (
    <Card title={t('recipients')}>
      {settings.mailEnabled === false && (
        <Banner kind="info" title={t('noMail')}>
          <p>{t('noMailText')}</p>
        </Banner>
      )}
      {recipients.length === 0 ? (
        <EmptyState icon="bell" title={t('noRecipient')}>
          <p>{t('noRecipientText')}</p>
        </EmptyState>
      ) : (
        <DataTable
          label={common('table.rows', { label: t('recipients') })}
          columns={columns}
          rows={recipients}
          rowKey={(recipient) => recipient.id}
        />
      )}
      {mayWrite && (
        <form className="form form-wide" onSubmit={(event) => void submit(event)}>
          <TextField label={t('address')} required technical value={address} onChange={setAddress} maxLength={254} />
          <TextField label={t('name')} value={name} onChange={setName} maxLength={100} />
          {problem && <ErrorPanel problem={problem} />}
          <div className="actions">
            <Button kind="primary" type="submit" busy={adding}>
              {t('add')}
            </Button>
          </div>
        </form>
      )}
      <ConfirmDialog
        isOpen={removing !== undefined}
        onClose={() => setRemoving(undefined)}
        title={t('removeTitle', { address: removing?.address ?? '' })}
        consequences={[t('removeNothing')]}
        confirmLabel={t('remove')}
        danger
        onConfirm={async () => {
          if (!removing) return undefined;
          const answer = await remove({ input: { id: removing.id } });
          onChanged();
          return answer.problem;
        }}
      />
    </Card>
  );
}
