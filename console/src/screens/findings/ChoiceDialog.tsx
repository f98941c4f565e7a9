// Asks again before a decision about findings, with what follows from it.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { TextField, toInstant } from '../../components/forms.tsx';
import type { Problem } from '../../components/states.tsx';
import type { FindingChoice, FindingFieldsFragment } from '../../generated/graphql.ts';

export interface ChoiceValues {
  reason: string;
  until: string | undefined;
}

interface ChoiceDialogProps {
  choice: FindingChoice;
  count: number;
  finding: FindingFieldsFragment | undefined;
  onClose: () => void;
  onDecide: (values: ChoiceValues) => Promise<Problem | undefined>;
}

export function ChoiceDialog({ choice, count, finding, onClose, onDecide }: ChoiceDialogProps) {
  const { t } = useTranslation('findings');
  const { t: common } = useTranslation();
  const [reason, setReason] = useState('');
  const [until, setUntil] = useState('');
  return (
    <ConfirmDialog
      isOpen
      onClose={onClose}
      title={t(`ask.${choice}`, { count })}
      consequences={[
        ...(finding?.label ? [finding.label] : []),
        t(`askText.${choice}`),
        ...(finding && finding.rolesHeld > 0 && (choice === 'SUSPEND' || choice === 'DELETE')
          ? [t('askRoles', { count: finding.rolesHeld })]
          : []),
      ]}
      confirmLabel={t(`choice.${choice}`)}
      danger={choice === 'SUSPEND' || choice === 'DELETE'}
      onConfirm={async () => {
        if (choice === 'ACCEPT' && reason.trim() === '') {
          return { code: 'INVALID', message: t('needsReason'), nextStep: t('needsReasonNext') };
        }
        return await onDecide({ reason, until: choice === 'ACCEPT' ? toInstant(until) : undefined });
      }}
    >
      <TextField
        label={choice === 'ACCEPT' ? t('why') : common('dialog.reason')}
        required={choice === 'ACCEPT'}
        maxLength={1000}
        value={reason}
        onChange={setReason}
        autoFocus
      />
      {choice === 'ACCEPT' && (
        <TextField label={t('untilLabel')} help={t('untilHelp')} type="datetime-local" value={until} onChange={setUntil} />
      )}
    </ConfirmDialog>
  );
}
